#include "intarsia/autograd/gradient_check.h"

#include <algorithm>
#include <cmath>

namespace intarsia {
namespace {

double RootMeanSquare(const float* x, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += double{x[i]} * x[i];
  return n == 0 ? 0 : std::sqrt(sum / static_cast<double>(n));
}

class Checker {
 public:
  Checker(const Context& ctx, const std::vector<Tensor>& inputs,
          const CheckedFunction& function, const GradientCheckOptions& options)
      : ctx_(ctx),
        inputs_(inputs),
        function_(function),
        options_(options),
        random_(options.seed, 7) {}

  // Runs forward and backward; the coefficients c come from the result's shape.
  void Differentiate(Tape* tape) {
    for (Tensor& input : inputs_) tape->Watch(&input);
    Context ctx = ctx_;
    ctx.tape = tape;
    const Tensor y = function_(ctx, inputs_);
    coefficients_ = Tensor::Empty(y.shape());
    float* c = coefficients_.mutable_data<float>();
    for (int64_t i = 0; i < y.numel(); ++i) c[i] = random_.NextNormal();
    tape->Backward(ctx_, y, coefficients_);
  }

  const std::vector<Tensor>& inputs() const { return inputs_; }

  GradientError Compare(const std::string& name, Tensor values,
                        const Tensor& gradient) {
    CHECK(values.contiguous());
    const int64_t n = values.numel();
    float* x = values.mutable_data<float>();
    const std::vector<float> ours =
        gradient.defined() ? gradient.ToVector<float>()
                           : std::vector<float>(static_cast<size_t>(n), 0.0f);
    const double scale = RootMeanSquare(ours.data(), n);
    const double step = options_.step * std::max(RootMeanSquare(x, n), 1e-3);
    GradientError error{name, 0};
    for (int k = 0; k < options_.coordinates && n > 0; ++k) {
      const uint32_t i = random_.NextBelow(static_cast<uint32_t>(n));
      const double theirs =
          (4 * Difference(x + i, step / 2) - Difference(x + i, step)) / 3;
      const double most =
          std::max({std::abs(theirs), std::abs(double{ours[i]}), scale, 1e-12});
      error.max_relative =
          std::max(error.max_relative, std::abs(theirs - ours[i]) / most);
    }
    return error;
  }

 private:
  double Scalar() {
    Context ctx = ctx_;
    ctx.tape = nullptr;
    const std::vector<float> y = function_(ctx, inputs_).ToVector<float>();
    const float* c = coefficients_.data<float>();
    double sum = 0;
    for (size_t i = 0; i < y.size(); ++i) sum += double{c[i]} * y[i];
    return sum;
  }

  double Difference(float* x, double step) {
    const float old = *x;
    *x = static_cast<float>(old + step);
    const double right = *x, above = Scalar();
    *x = static_cast<float>(old - step);
    const double left = *x, below = Scalar();
    *x = old;
    return (above - below) / (right - left);
  }

  Context ctx_;
  std::vector<Tensor> inputs_;
  const CheckedFunction& function_;
  GradientCheckOptions options_;
  Random random_;
  Tensor coefficients_;
};

}  // namespace

std::vector<GradientError> CheckGradients(const Context& ctx,
                                          std::vector<Tensor> inputs,
                                          const std::vector<Weight*>& weights,
                                          const CheckedFunction& function,
                                          const GradientCheckOptions& options) {
  std::vector<bool> trainable;
  for (Weight* weight : weights) {
    trainable.push_back(weight->trainable);
    weight->trainable = true;
  }
  Tape tape;
  Checker checker(ctx, inputs, function, options);
  checker.Differentiate(&tape);
  std::vector<GradientError> errors;
  for (size_t i = 0; i < inputs.size(); ++i) {
    errors.push_back(checker.Compare("input " + std::to_string(i),
                                     checker.inputs()[i],
                                     tape.Gradient(checker.inputs()[i])));
  }
  for (size_t i = 0; i < weights.size(); ++i) {
    CHECK(weights[i]->format().storage() == DType::kF32);
    errors.push_back(checker.Compare(weights[i]->spec().name,
                                     weights[i]->mutable_values(),
                                     tape.WeightGradient(*weights[i])));
    weights[i]->trainable = trainable[i];
  }
  return errors;
}

}  // namespace intarsia
