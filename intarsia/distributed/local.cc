#include <barrier>
#include <cstring>

#include "intarsia/distributed/communicator.h"

namespace intarsia {
namespace {

// What the ranks share: where each one's operand lies during a call.
struct Shared {
  explicit Shared(int size) : barrier(size), operands(size, nullptr) {}
  std::barrier<> barrier;
  std::vector<const float*> operands;
};

class LocalCommunicator final : public Communicator {
 public:
  LocalCommunicator(std::shared_ptr<Shared> shared, int rank)
      : shared_(std::move(shared)), rank_(rank) {}

  int rank() const override { return rank_; }
  int size() const override {
    return static_cast<int>(shared_->operands.size());
  }

  void AllReduceSum(Tensor* x) override {
    CHECK(x->contiguous());
    shared_->operands[rank_] = x->data<float>();
    shared_->barrier.arrive_and_wait();
    Tensor sum = Tensor::Empty(x->shape());
    float* out = sum.mutable_data<float>();
    std::memcpy(out, shared_->operands[0], sum.nbytes());
    for (int r = 1; r < size(); ++r) {
      const float* in = shared_->operands[r];
      for (int64_t i = 0; i < sum.numel(); ++i) out[i] += in[i];
    }
    // Nobody may write before everybody has read.
    shared_->barrier.arrive_and_wait();
    *x = sum;
  }

  void Barrier() override { shared_->barrier.arrive_and_wait(); }

 private:
  std::shared_ptr<Shared> shared_;
  int rank_;
};

}  // namespace

std::vector<std::unique_ptr<Communicator>> MakeLocalGroup(int size) {
  CHECK_GE(size, 1);
  auto shared = std::make_shared<Shared>(size);
  std::vector<std::unique_ptr<Communicator>> group;
  for (int r = 0; r < size; ++r) {
    group.push_back(std::make_unique<LocalCommunicator>(shared, r));
  }
  return group;
}

}  // namespace intarsia
