#include "shoal/optim/update_kernels.h"

#include "shoal/compress/simd_config.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "shoal/optim/update_kernels.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace shoal::optim {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Each update is a function object over vectors of D at one place. `run` applies it to whole vectors first,
// and then to the last few values with the same code on vectors of one lane.

template <template <class> class Update, class D, class... Arguments>
HWY_INLINE std::size_t run_on(D d, std::size_t begin, std::size_t count, const Arguments&... arguments) {
    const std::size_t lanes = hn::Lanes(d);
    const Update<D> update(arguments...);
    for (; begin + lanes <= count; begin += lanes) update(begin);
    return begin;
}

template <template <class> class Update, class... Arguments>
HWY_INLINE void run(std::size_t count, const Arguments&... arguments) {
    const std::size_t begin = run_on<Update>(hn::ScalableTag<float>(), 0, count, arguments...);
    run_on<Update>(hn::CappedTag<float, 1>(), begin, count, arguments...);
}

template <class D>
class PlainSgd {
  public:
    HWY_INLINE PlainSgd(const SgdConstants& constants, const float* gradient, float* p)
        : learning_rate_(hn::Set(D(), constants.learning_rate)),
          weight_decay_(hn::Set(D(), constants.weight_decay)),
          gradient_(gradient),
          p_(p) {}

    HWY_INLINE void operator()(std::size_t i) const {
        const D d;
        const auto p = hn::LoadU(d, p_ + i);
        const auto g = hn::Add(hn::LoadU(d, gradient_ + i), hn::Mul(weight_decay_, p));
        hn::StoreU(hn::Sub(p, hn::Mul(learning_rate_, g)), d, p_ + i);
    }

  private:
    hn::Vec<D> learning_rate_, weight_decay_;
    const float* gradient_;
    float* p_;
};

template <class D>
class Sgd {
  public:
    HWY_INLINE Sgd(const SgdConstants& constants, const float* gradient, float* p, float* v)
        : learning_rate_(hn::Set(D(), constants.learning_rate)),
          momentum_(hn::Set(D(), constants.momentum)),
          weight_decay_(hn::Set(D(), constants.weight_decay)),
          nesterov_(constants.nesterov),
          gradient_(gradient),
          p_(p),
          v_(v) {}

    HWY_INLINE void operator()(std::size_t i) const {
        const D d;
        const auto p = hn::LoadU(d, p_ + i);
        const auto g = hn::Add(hn::LoadU(d, gradient_ + i), hn::Mul(weight_decay_, p));
        const auto v = hn::Add(hn::Mul(momentum_, hn::LoadU(d, v_ + i)), g);
        hn::StoreU(v, d, v_ + i);
        const auto direction = nesterov_ ? hn::Add(g, hn::Mul(momentum_, v)) : v;
        hn::StoreU(hn::Sub(p, hn::Mul(learning_rate_, direction)), d, p_ + i);
    }

  private:
    hn::Vec<D> learning_rate_, momentum_, weight_decay_;
    bool nesterov_;
    const float* gradient_;
    float *p_, *v_;
};

template <class D>
class Larc {
  public:
    HWY_INLINE Larc(const LarcConstants& constants, const float* gradient, float* p, float* v)
        : learning_rate_(hn::Set(D(), constants.learning_rate)),
          momentum_(hn::Set(D(), constants.momentum)),
          weight_decay_(hn::Set(D(), constants.weight_decay)),
          trust_(hn::Set(D(), constants.trust)),
          gradient_(gradient),
          p_(p),
          v_(v) {}

    HWY_INLINE void operator()(std::size_t i) const {
        const D d;
        const auto p = hn::LoadU(d, p_ + i);
        const auto decayed = hn::Add(hn::LoadU(d, gradient_ + i), hn::Mul(weight_decay_, p));
        const auto v = hn::Add(hn::Mul(momentum_, hn::LoadU(d, v_ + i)), hn::Mul(trust_, decayed));
        hn::StoreU(v, d, v_ + i);
        hn::StoreU(hn::Sub(p, hn::Mul(learning_rate_, v)), d, p_ + i);
    }

  private:
    hn::Vec<D> learning_rate_, momentum_, weight_decay_, trust_;
    const float* gradient_;
    float *p_, *v_;
};

template <class D>
class Moments {
  public:
    HWY_INLINE Moments(const MomentConstants& constants, const float* gradient, float* m, float* v)
        : beta1_(hn::Set(D(), constants.beta1)),
          rest1_(hn::Set(D(), constants.rest1)),
          beta2_(hn::Set(D(), constants.beta2)),
          rest2_(hn::Set(D(), constants.rest2)),
          gradient_(gradient),
          m_(m),
          v_(v) {}

    /// Updates both averages at this place and hands them out.
    HWY_INLINE void update(std::size_t i, hn::Vec<D>& m, hn::Vec<D>& v) const {
        const D d;
        const auto g = hn::LoadU(d, gradient_ + i);
        m = hn::Add(hn::Mul(beta1_, hn::LoadU(d, m_ + i)), hn::Mul(rest1_, g));
        v = hn::Add(hn::Mul(beta2_, hn::LoadU(d, v_ + i)), hn::Mul(hn::Mul(rest2_, g), g));
        hn::StoreU(m, d, m_ + i);
        hn::StoreU(v, d, v_ + i);
    }

  private:
    hn::Vec<D> beta1_, rest1_, beta2_, rest2_;
    const float* gradient_;
    float *m_, *v_;
};

template <class D>
class AdamW {
  public:
    HWY_INLINE AdamW(const AdamWConstants& constants, const float* gradient, float* p, float* m, float* v)
        : moments_(constants.moments, gradient, m, v),
          epsilon_(hn::Set(D(), constants.moments.epsilon)),
          shrink_(hn::Set(D(), constants.shrink)),
          step_size_(hn::Set(D(), constants.step_size)),
          root_correction_(hn::Set(D(), constants.root_correction)),
          p_(p) {}

    HWY_INLINE void operator()(std::size_t i) const {
        const D d;
        auto m = hn::Undefined(d), v = hn::Undefined(d);
        moments_.update(i, m, v);
        const auto root = hn::Add(hn::Mul(hn::Sqrt(v), root_correction_), epsilon_);
        const auto shrunk = hn::Mul(shrink_, hn::LoadU(d, p_ + i));
        hn::StoreU(hn::Sub(shrunk, hn::Mul(step_size_, hn::Div(m, root))), d, p_ + i);
    }

  private:
    Moments<D> moments_;
    hn::Vec<D> epsilon_, shrink_, step_size_, root_correction_;
    float* p_;
};

template <class D>
class LambDirection {
  public:
    HWY_INLINE LambDirection(const MomentConstants& constants, float weight_decay, const float* gradient,
                             const float* p, float* m, float* v, float* direction)
        : moments_(constants, gradient, m, v),
          epsilon_(hn::Set(D(), constants.epsilon)),
          weight_decay_(hn::Set(D(), weight_decay)),
          p_(p),
          direction_(direction) {}

    HWY_INLINE void operator()(std::size_t i) const {
        const D d;
        auto m = hn::Undefined(d), v = hn::Undefined(d);
        moments_.update(i, m, v);
        const auto adaptive = hn::Div(m, hn::Add(hn::Sqrt(v), epsilon_));
        hn::StoreU(hn::Add(adaptive, hn::Mul(weight_decay_, hn::LoadU(d, p_ + i))), d, direction_ + i);
    }

  private:
    Moments<D> moments_;
    hn::Vec<D> epsilon_, weight_decay_;
    const float* p_;
    float* direction_;
};

template <class D>
class SubtractScaled {
  public:
    HWY_INLINE SubtractScaled(float factor, const float* direction, float* p)
        : factor_(hn::Set(D(), factor)), direction_(direction), p_(p) {}

    HWY_INLINE void operator()(std::size_t i) const {
        const D d;
        hn::StoreU(hn::Sub(hn::LoadU(d, p_ + i), hn::Mul(factor_, hn::LoadU(d, direction_ + i))), d, p_ + i);
    }

  private:
    hn::Vec<D> factor_;
    const float* direction_;
    float* p_;
};

void sgd_kernel(const SgdConstants& constants, const float* gradient, float* p, float* v, std::size_t count) {
    run<Sgd>(count, constants, gradient, p, v);
}
void plain_sgd_kernel(const SgdConstants& constants, const float* gradient, float* p, std::size_t count) {
    run<PlainSgd>(count, constants, gradient, p);
}
void larc_kernel(const LarcConstants& constants, const float* gradient, float* p, float* v,
                 std::size_t count) {
    run<Larc>(count, constants, gradient, p, v);
}
void adamw_kernel(const AdamWConstants& constants, const float* gradient, float* p, float* m, float* v,
                  std::size_t count) {
    run<AdamW>(count, constants, gradient, p, m, v);
}
void lamb_direction_kernel(const MomentConstants& constants, float weight_decay, const float* gradient,
                           const float* p, float* m, float* v, float* direction, std::size_t count) {
    run<LambDirection>(count, constants, weight_decay, gradient, p, m, v, direction);
}
void subtract_scaled_kernel(float factor, const float* direction, float* p, std::size_t count) {
    run<SubtractScaled>(count, factor, direction, p);
}

}  // namespace HWY_NAMESPACE
}  // namespace shoal::optim
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace shoal::optim {

HWY_EXPORT(sgd_kernel);
HWY_EXPORT(plain_sgd_kernel);
HWY_EXPORT(larc_kernel);
HWY_EXPORT(adamw_kernel);
HWY_EXPORT(lamb_direction_kernel);
HWY_EXPORT(subtract_scaled_kernel);

void sgd_update(const SgdConstants& constants, const float* gradient, float* p, float* v, std::size_t count) {
    HWY_DYNAMIC_DISPATCH(sgd_kernel)(constants, gradient, p, v, count);
}

void plain_sgd_update(const SgdConstants& constants, const float* gradient, float* p, std::size_t count) {
    HWY_DYNAMIC_DISPATCH(plain_sgd_kernel)(constants, gradient, p, count);
}

void larc_update(const LarcConstants& constants, const float* gradient, float* p, float* v,
                 std::size_t count) {
    HWY_DYNAMIC_DISPATCH(larc_kernel)(constants, gradient, p, v, count);
}

void adamw_update(const AdamWConstants& constants, const float* gradient, float* p, float* m, float* v,
                  std::size_t count) {
    HWY_DYNAMIC_DISPATCH(adamw_kernel)(constants, gradient, p, m, v, count);
}

void lamb_direction(const MomentConstants& constants, float weight_decay, const float* gradient,
                    const float* p, float* m, float* v, float* direction, std::size_t count) {
    HWY_DYNAMIC_DISPATCH(lamb_direction_kernel)(constants, weight_decay, gradient, p, m, v, direction, count);
}

void subtract_scaled(float factor, const float* direction, float* p, std::size_t count) {
    HWY_DYNAMIC_DISPATCH(subtract_scaled_kernel)(factor, direction, p, count);
}

}  // namespace shoal::optim
#endif
