// Ops that have a fast form beside a composition of other ops.
#pragma once

#include <map>
#include <string>

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

// `composed` says by other ops what the op is. `fast` returns the same number
// for number within rounding, or an undefined tensor where it has no kernel for
// the call. With a tape the composition runs and records itself, until `fast`
// has a gradient of its own.
template <typename Fast, typename Composed>
Tensor Fused(Context& ctx, const char* op, const Fast& fast,
             const Composed& composed,
             FusedGradient gradient = FusedGradient::kComposed) {
  if (ctx.tape != nullptr && gradient == FusedGradient::kComposed) {
    return composed();
  }
  Tensor y = fast();
  if (!y.defined()) return composed();
  FusedAudit* audit = FusedAudit::Current();
  if (audit != nullptr && ctx.tape == nullptr && ctx.state == nullptr) {
    audit->Compare(op, y, composed());
  }
  return y;
}

}  // namespace intarsia
