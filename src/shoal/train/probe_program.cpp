#include "shoal/train/probe_program.h"

#include <chrono>
#include <fmt/format.h>

#include "shoal/base/error.h"
#include "shoal/optim/local_compute.h"
#include "shoal/optim/vector_math.h"
#include "shoal/run/checkpoint.h"
#include "shoal/train/settings.h"

namespace shoal::train {
namespace {

std::unique_ptr<nn::Model> make_probed_model(const run::RunDefinition& definition,
                                             const data::DataShape& shape) {
    auto model = nn::make_model(model_settings(definition, shape));
    if (!dynamic_cast<nn::FeatureModel*>(model.get()))
        throw Error(ErrorKind::invalid_argument,
                    "a linear probe needs [model] kind resnet or swav, not " + definition.model.kind);
    return model;
}

Step load(nn::Model& model, const run::RunDefinition& definition, const std::filesystem::path& folder) {
    const run::CheckpointFolder checkpoints(folder, 1, Log());
    const std::optional<run::Checkpoint> found = checkpoints.latest();
    if (!found)
        throw Error(ErrorKind::bad_input, "there is no checkpoint in " + folder.string() +
                                              "; train first, or name its folder with --checkpoint");
    run::check_fits(found->info, run::agreed_settings(definition));
    for (const auto& section : found->state.sections) {
        if (section.name != optim::kParametersSection) continue;
        if (section.values.size() != model.size() || !optim::all_finite(section.values)) break;
        model.set_values(section.values);
        return found->info.step;
    }
    throw Error(ErrorKind::bad_input,
                "the checkpoint in " + folder.string() + " does not hold the parameters of this model");
}

nlohmann::json as_json(const ProbeResult& result) {
    return {{"test_accuracy", result.test_accuracy},
            {"training_accuracy", result.training_accuracy},
            {"test_loss", result.test_loss},
            {"training_images", result.training_images},
            {"test_images", result.test_images}};
}

void say(const std::string& what, const ProbeResult& result) {
    fmt::print("{:<28} test accuracy {:.2f} %  (training {:.2f} %, {} images; tested on {})\n", what,
               100 * result.test_accuracy, 100 * result.training_accuracy, result.training_images,
               result.test_images);
    std::fflush(stdout);
}

}  // namespace

ProbeReport probe_checkpoint(const run::RunDefinition& definition, const ProbeProgramOptions& options) {
    data::DatasetSettings settings = dataset_settings(definition);
    settings.crops.reset();
    const auto images = data::make_dataset(settings, PeerId());
    const auto model = make_probed_model(definition, images->shape());
    auto& features = dynamic_cast<nn::FeatureModel&>(*model);
    ProbeReport report;
    // The checkpoint first: what is wrong with it shows at once.
    const std::vector<float> fresh(model->values().begin(), model->values().end());
    report.step = load(*model, definition,
                       options.checkpoints.empty() ? definition.checkpoint_folder() : options.checkpoints);
    report.trained = probe(features, *images, options.probe, options.progress);
    if (!options.random) return report;
    model->set_values(fresh);
    report.random = probe(features, *images, options.probe, options.progress);
    return report;
}

int run_probe(const run::RunDefinition& definition, const ProbeProgramOptions& options) {
    run::Result result("probe", options.result);
    ProbeProgramOptions watched = options;
    watched.progress = [said = std::chrono::steady_clock::now()](double share) mutable {
        const auto now = std::chrono::steady_clock::now();
        if (now - said < std::chrono::seconds(10)) return;
        said = now;
        fmt::print("computed {:.0f} % of the features\n", 100 * share);
        std::fflush(stdout);
    };
    const ProbeReport report = probe_checkpoint(definition, watched);
    say(fmt::format("step {}:", value(report.step)), report.trained);
    result.json()["step"] = value(report.step);
    result.json()["trained"] = as_json(report.trained);
    if (options.random) {
        say("random features (step 0):", report.random);
        result.json()["random"] = as_json(report.random);
    }
    return result.finish();
}

}  // namespace shoal::train
