// Ops that have a fast form beside a composition of other ops.
#pragma once

#include <map>
#include <string>
#include <type_traits>
#include <vector>

#include "intarsia/core/context.h"

namespace intarsia {

// For tests: while one lives, the Fused ops of its thread compute both forms,
// and it notes how far they are apart. Ops on carried state are left out, since
// both forms would move it on.
class FusedAudit {
 public:
  FusedAudit();
  ~FusedAudit();
  FusedAudit(const FusedAudit&) = delete;

  // By op, the largest ‖fast − composed‖ / ‖composed‖; infinite where a NaN or
  // a shape differs. Ops that never ran a fast form are not in it.
  const std::map<std::string, double>& differences() const { return worst_; }

  static FusedAudit* Current();  // of this thread, or null
  void Compare(const char* op, const Tensor& fast, const Tensor& composed);

 private:
  FusedAudit* outer_;
  std::map<std::string, double> worst_;
};

// Who differentiates a fused op: the ops of the composition, or the fast form,
// which records itself (Run with a vector-Jacobian product).
enum class FusedGradient : uint8_t { kComposed, kOwn };

// `composed` says by other ops what the op is: a tensor or a vector of them.
// `fast` returns the same number for number within rounding, or an undefined
// tensor (an empty vector) where it has no kernel for the call. With a tape the
// composition runs and records itself, until `fast` has a gradient of its own.
template <typename Fast, typename Composed>
auto Fused(Context& ctx, const char* op, const Fast& fast,
           const Composed& composed,
           FusedGradient gradient = FusedGradient::kComposed)
    -> decltype(composed()) {
  constexpr bool kOne = std::is_same_v<decltype(composed()), Tensor>;
  if (ctx.tape != nullptr && gradient == FusedGradient::kComposed) {
    return composed();
  }
  auto y = fast();
  if constexpr (kOne) {
    if (!y.defined()) return composed();
  } else {
    if (y.empty()) return composed();
  }
  FusedAudit* audit = FusedAudit::Current();
  if (audit != nullptr && ctx.tape == nullptr && ctx.state == nullptr) {
    const auto want = composed();
    if constexpr (kOne) {
      audit->Compare(op, y, want);
    } else {
      CHECK_EQ(y.size(), want.size()) << op;
      for (size_t i = 0; i < y.size(); ++i) audit->Compare(op, y[i], want[i]);
    }
  }
  return y;
}

}  // namespace intarsia
