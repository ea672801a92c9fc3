#include "shoal/nn/script_model.h"

#include <torch/script.h>

#include "shoal/base/error.h"
#include "shoal/base/hash.h"
#include "shoal/nn/flat_model.h"
#include "shoal/nn/script_file.h"

namespace shoal::nn {
namespace {

class ScriptModel final : public FlatModel {
  public:
    ScriptModel(const std::string& file, int threads, torch::jit::Module module)
        : FlatModel("model " + file, threads), file_(file), module_(std::move(module)) {
        find_arguments();
        adopt_parameters();
        check_buffers();
        module_.train(true);
    }

  private:
    [[noreturn]] void refuse(const std::string& why) const {
        throw Error(ErrorKind::bad_input, "model " + file_ + " " + why);
    }

    void find_arguments() {
        const auto forward = module_.find_method("forward");
        if (!forward) refuse("has no forward method; export it with torch.jit.script(model).save(...)");
        std::size_t required = 0;
        const auto& arguments = forward->function().getSchema().arguments();
        for (std::size_t i = 1; i < arguments.size(); ++i) {  // the first is self
            if (!arguments[i].default_value()) ++required;
        }
        if (required != 1 && required != 2) {
            refuse("has a forward that takes " + std::to_string(required) +
                   " arguments; it must take (tokens) or (images, classes) and return the loss");
        }
        kind_ = required == 1 ? data::BatchKind::tokens : data::BatchKind::images;
    }

    void adopt_parameters() {
        std::vector<NamedTensor> all;
        for (const auto& parameter : module_.named_parameters()) {
            const at::Tensor& tensor = parameter.value;
            if (!tensor.requires_grad()) continue;
            if (tensor.scalar_type() != at::kFloat || tensor.layout() != at::kStrided) {
                refuse("has the parameter " + parameter.name + " of type " +
                       std::string(c10::toString(tensor.scalar_type())) +
                       "; all must be dense and fp32: call model.float() before the export");
            }
            all.push_back({parameter.name, tensor});
        }
        if (all.empty())
            refuse(
                "has no trainable parameters; was it exported with torch.jit.freeze, or "
                "requires_grad=False?");
        adopt(all);
    }

    void check_buffers() const {
        for (const auto& buffer : module_.named_buffers()) {
            if (buffer.name.ends_with("running_mean") || buffer.name.ends_with("running_var"))
                refuse_buffer(buffer.name);
        }
    }

    [[noreturn]] void refuse_buffer(const std::string& name) const {
        refuse("keeps state outside its parameters (the buffer " + name +
               " changes in forward), which peers do not share; use GroupNorm or LayerNorm, or BatchNorm "
               "with track_running_stats=False");
    }

    /// One fingerprint for each buffer.
    std::vector<Fingerprint> buffer_fingerprints() const {
        std::vector<Fingerprint> found;
        for (const at::Tensor& buffer : module_.buffers()) {
            const at::Tensor dense = buffer.detach().contiguous();
            found.push_back(
                fingerprint(ByteView(static_cast<const std::uint8_t*>(dense.data_ptr()), dense.nbytes())));
        }
        return found;
    }

    void check_unchanged(const std::vector<Fingerprint>& before) const {
        const auto after = buffer_fingerprints();
        std::size_t i = 0;
        for (const auto& buffer : module_.named_buffers()) {
            if (after[i] != before[i]) refuse_buffer(buffer.name);
            ++i;
        }
    }

    void check(const data::Batch& batch) const override {
        if (batch.kind == kind_) return;
        throw Error(ErrorKind::invalid_argument,
                    "model " + file_ + " has a forward that takes " +
                        (kind_ == data::BatchKind::tokens ? "(tokens)" : "(images, classes)") +
                        ", but the data set gives " + std::string(data::to_string(batch.kind)) +
                        "; use data kind '" + (kind_ == data::BatchKind::tokens ? "tokens'" : "images'"));
    }

    at::Tensor loss(const data::Batch& batch, bool training) override {
        const std::int64_t n = batch.samples;
        std::vector<c10::IValue> inputs;
        if (kind_ == data::BatchKind::tokens) {
            inputs.emplace_back(as_tensor(batch.tokens, {n, batch.sequence_length}, "tokens"));
        } else {
            inputs.emplace_back(
                as_tensor(batch.pixels, {n, batch.channels, batch.height, batch.width}, "pixels"));
            inputs.emplace_back(as_tensor(batch.classes, {n}, "classes"));
        }
        if (training != training_) module_.train(training);
        training_ = training;
        // The first training batch shows whether forward changes a buffer; it is the same code every time.
        const bool probe = training && !probed_;
        const auto before = probe ? buffer_fingerprints() : std::vector<Fingerprint>();
        const at::Tensor result = run(std::move(inputs));
        if (probe) check_unchanged(before);
        probed_ = probed_ || probe;
        if (training && !result.requires_grad())
            refuse(
                "returns a loss that does not depend on its parameters (detached or computed under "
                "no_grad?)");
        return result.reshape({});
    }

    at::Tensor run(std::vector<c10::IValue> inputs) {
        c10::IValue result;
        try {
            result = module_.forward(std::move(inputs));
        } catch (const c10::Error& error) {
            refuse("fails in forward: " + last_line(error.what_without_backtrace()));
        } catch (const std::exception& error) {
            refuse("fails in forward: " + last_line(error.what()));
        }
        if (!result.isTensor())
            refuse("returns " + result.tagKind() +
                   " from forward; it must return the loss, a tensor with one float");
        const at::Tensor loss = result.toTensor();
        if (loss.numel() != 1 || loss.scalar_type() != at::kFloat) {
            refuse("returns a tensor of " + std::to_string(loss.numel()) + " elements of type " +
                   std::string(c10::toString(loss.scalar_type())) +
                   " from forward; it must return the loss, a tensor with one float");
        }
        return loss;
    }

    std::string file_;
    torch::jit::Module module_;
    data::BatchKind kind_ = data::BatchKind::tokens;
    bool training_ = true;
    bool probed_ = false;
};

}  // namespace

std::unique_ptr<Model> load_script_model(const std::string& file, int threads) {
    return std::make_unique<ScriptModel>(file, threads, load_script_file(file, "model").module);
}

}  // namespace shoal::nn
