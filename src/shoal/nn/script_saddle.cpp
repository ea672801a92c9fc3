#include "shoal/nn/script_saddle.h"

#include <algorithm>
#include <cmath>
#include <torch/script.h>

#include "shoal/base/error.h"
#include "shoal/nn/script_file.h"

namespace shoal::nn {
namespace {

using variational::Vector;

constexpr std::int64_t kMostDevices = 4096;

at::Tensor tensor_of(std::span<const double> values) {
    return at::tensor(at::ArrayRef<double>(values.data(), values.size()), at::kDouble);
}

/// The functions of a file, checked.
class SaddleScript {
  public:
    SaddleScript(const std::string& file, torch::jit::Module module)
        : file_(file), module_(std::move(module)) {
        const bool one = has_method("forward"), two = has_method("first") && has_method("second");
        if (one == two)
            refuse(
                "must have either the methods 'first' and 'second' of two players, or 'forward' of z and a "
                "'sign'");
        is_one_ = one;
        read_sizes();
        if (one) {
            start = vector("start");
            sign_ = vector("sign");
            split_ = start.size();
            if (sign_.size() != start.size()) refuse("has a sign of another length than start");
            const auto is_sign = [](double s) { return s == 1 || s == -1; };
            if (!std::all_of(sign_.begin(), sign_.end(), is_sign)) refuse("has a sign that is not 1 or -1");
        } else {
            start = vector("start_x");
            const Vector y = vector("start_y");
            split_ = start.size();
            start.insert(start.end(), y.begin(), y.end());
        }
        read_constants();
        if (module_.hasattr("solution")) {
            solution = vector("solution");
            if (solution->size() != start.size()) refuse("has a solution of another length than its start");
        }
    }

    void evaluate(std::size_t device, std::span<const double> z, std::span<double> value) const {
        if (is_one_) {
            gradient("forward", {z}, 0, device, value);
            for (std::size_t i = 0; i < value.size(); ++i) value[i] *= sign_[i];
            return;
        }
        const std::vector<std::span<const double>> both = {z.first(split_), z.subspan(split_)};
        gradient("first", both, 0, device, value.first(split_));
        gradient("second", both, 1, device, value.subspan(split_));
    }

    Vector start;
    std::optional<Vector> solution;
    std::optional<variational::Constants> constants;
    std::size_t devices = 1;

    [[noreturn]] void refuse(const std::string& why) const {
        throw Error(ErrorKind::bad_input, "problem " + file_ + " " + why);
    }

  private:
    bool has_method(const char* name) const { return module_.find_method(name).has_value(); }

    void read_sizes() {
        if (!module_.hasattr("devices") || !module_.attr("devices").isInt())
            refuse("lacks 'devices', an int: how many devices there are");
        const std::int64_t count = module_.attr("devices").toInt();
        if (count < 1 || count > kMostDevices)
            refuse("has " + std::to_string(count) + " devices; there must be 1 to " +
                   std::to_string(kMostDevices));
        devices = static_cast<std::size_t>(count);
    }

    void read_constants() {
        const auto number = [this](const char* name) -> double {
            if (!module_.hasattr(name)) return 0;
            const c10::IValue value = module_.attr(name);
            if (!value.isDouble() || !std::isfinite(value.toDouble()) || value.toDouble() < 0)
                refuse(std::string("has a '") + name + "' that is no float of at least 0");
            return value.toDouble();
        };
        const double lipschitz = number("lipschitz");
        if (lipschitz == 0) return;
        variational::Constants known;
        known.lipschitz = lipschitz;
        known.device_lipschitz = std::max(number("device_lipschitz"), lipschitz);
        known.component_lipschitz = known.device_lipschitz;
        known.monotonicity = number("monotonicity");
        constants = known;
    }

    Vector vector(const char* name) const {
        if (!module_.hasattr(name) || !module_.attr(name).isTensor())
            refuse(std::string("lacks the tensor '") + name + "'");
        const at::Tensor tensor = module_.attr(name).toTensor().detach();
        if (tensor.dim() != 1 || tensor.numel() == 0 || tensor.scalar_type() != at::kDouble)
            refuse(std::string("has a '") + name +
                   "' that is not of type float64, of one dimension and not empty");
        const at::Tensor dense = tensor.contiguous();
        const Vector values(dense.data_ptr<double>(), dense.data_ptr<double>() + dense.numel());
        const auto is_finite = [](double x) { return std::isfinite(x); };
        if (!std::all_of(values.begin(), values.end(), is_finite))
            refuse(std::string("has a '") + name + "' that is not finite");
        return values;
    }

    /// value = the gradient of a method's result by one of its arguments.
    void gradient(const char* method, const std::vector<std::span<const double>>& arguments, std::size_t by,
                  std::size_t device, std::span<double> value) const {
        const c10::AutoGradMode with_gradients(true);
        std::vector<c10::IValue> inputs;
        at::Tensor variable;
        for (std::size_t i = 0; i < arguments.size(); ++i) {
            at::Tensor argument = tensor_of(arguments[i]);
            if (i == by) variable = argument.requires_grad_(true);
            inputs.emplace_back(argument);
        }
        inputs.emplace_back(static_cast<std::int64_t>(device));
        const at::Tensor result = call(method, std::move(inputs));
        if (result.requires_grad()) {
            try {
                result.reshape({}).backward({}, c10::nullopt, false, at::TensorList(variable));
            } catch (const std::exception& error) {
                refuse(std::string("fails in the gradient of ") + method + ": " + last_line(error.what()));
            }
        }
        const at::Tensor found = variable.grad();
        if (!found.defined()) {  // it does not depend on it
            std::fill(value.begin(), value.end(), 0.0);
            return;
        }
        const at::Tensor dense = found.contiguous();
        std::copy_n(dense.data_ptr<double>(), value.size(), value.begin());
    }

    at::Tensor call(const char* method, std::vector<c10::IValue> inputs) const {
        c10::IValue result;
        try {
            result = module_.get_method(method)(std::move(inputs));
        } catch (const std::exception& error) {
            refuse(std::string("fails in ") + method + ": " + last_line(error.what()));
        }
        if (!result.isTensor() || result.toTensor().numel() != 1 ||
            result.toTensor().scalar_type() != at::kDouble)
            refuse(std::string("returns something else from ") + method + " than a tensor with one float64");
        return result.toTensor();
    }

    const std::string file_;
    torch::jit::Module module_;
    bool is_one_ = false;
    std::size_t split_ = 0;  ///< coordinates of x
    Vector sign_;
};

class ScriptSaddle final : public variational::Problem {
  public:
    ScriptSaddle(std::string name, SaddleScript script) : name_(std::move(name)), script_(std::move(script)) {
        Vector value(dimension());
        for (std::size_t device = 0; device < devices(); ++device) evaluate(device, script_.start, value);
    }

    std::string name() const override { return name_; }
    std::size_t dimension() const override { return script_.start.size(); }
    std::size_t devices() const override { return script_.devices; }
    void evaluate(std::size_t device, std::span<const double> z, std::span<double> value) const override {
        script_.evaluate(device, z, value);
    }
    std::optional<variational::Constants> constants() const override { return script_.constants; }
    Vector start() const override { return script_.start; }
    std::optional<Vector> solution() const override { return script_.solution; }

  private:
    std::string name_;
    SaddleScript script_;
};

}  // namespace

std::unique_ptr<variational::Problem> load_script_saddle(const std::string& file) {
    const ScriptFile script = load_script_file(file, "problem");
    return std::make_unique<ScriptSaddle>(file + " (" + script.sha256.hex().substr(0, 16) + ")",
                                          SaddleScript(file, script.module));
}

}  // namespace shoal::nn
