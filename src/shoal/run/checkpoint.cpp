#include "shoal/run/checkpoint.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <fmt/format.h>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "shoal/base/error.h"
#include "shoal/run/atomic_file.h"
#include "shoal/run/safetensors.h"
#include "shoal/run/state_digest.h"

namespace shoal::run {
namespace {

using nlohmann::json;

constexpr const char* kParameters = "parameters";

struct Section {
    std::string name;
    std::vector<std::string> tensors;  ///< in order
};

std::size_t elements(const std::vector<std::int64_t>& shape) {
    std::size_t product = 1;
    for (const std::int64_t size : shape) product *= static_cast<std::size_t>(size);
    return product;
}

/// Cuts the sections into the tensors of the file.
void cut(const collective::State& state, std::span<const TensorLayout> layout, std::vector<TensorView>& views,
         std::vector<Section>& sections) {
    std::size_t total = 0;
    for (const TensorLayout& tensor : layout) total += elements(tensor.shape);
    for (const collective::StateSection& section : state.sections) {
        Section noted{.name = section.name, .tensors = {}};
        const std::span<const float> values(section.values);
        if (section.name == kParameters && values.size() != total)
            throw Error(
                ErrorKind::invalid_argument,
                fmt::format("the state has {} parameters, the model's tensors {}", values.size(), total));
        if (!layout.empty() && values.size() == total) {
            std::size_t offset = 0;
            for (const TensorLayout& tensor : layout) {
                const std::size_t size = elements(tensor.shape);
                TensorView view{
                    .name = section.name == kParameters ? tensor.name : section.name + "/" + tensor.name,
                    .shape = tensor.shape,
                    .values = values.subspan(offset, size)};
                noted.tensors.push_back(view.name);
                views.push_back(std::move(view));
                offset += size;
            }
        } else {
            views.push_back({.name = section.name,
                             .shape = {static_cast<std::int64_t>(values.size())},
                             .values = values});
            noted.tensors.push_back(section.name);
        }
        sections.push_back(std::move(noted));
    }
}

json to_json(const CheckpointInfo& info, const std::vector<Section>& sections, const Digest& tensors_hash) {
    json result;
    result["format"] = 1;
    result["step"] = value(info.step);
    result["run"] = info.run;
    result["digest"] = info.digest.hex();
    result["seed"] = info.seed;
    result["data_position"] = info.data_position;
    result["learning_rate"] = info.learning_rate;
    result["loss"] = std::isfinite(info.loss) ? json(info.loss) : json(nullptr);
    result["settings"] = json::array();
    for (const auto& [name, setting] : info.settings) result["settings"].push_back({name, setting});
    result["sections"] = json::array();
    for (const Section& section : sections)
        result["sections"].push_back({{"name", section.name}, {"tensors", section.tensors}});
    result["tensors_sha256"] = tensors_hash.hex();
    return result;
}

Fingerprint fingerprint_from(const std::string& hex) {
    const Bytes bytes = from_hex(hex);
    if (bytes.size() != 16) throw Error(ErrorKind::corrupted, "its digest has not 32 digits");
    Fingerprint result;
    for (std::size_t i = 0; i < 8; ++i) {
        result.high = result.high << 8 | bytes[i];
        result.low = result.low << 8 | bytes[8 + i];
    }
    return result;
}

struct Noted {
    CheckpointInfo info;
    std::vector<Section> sections;
    Digest tensors_hash;
};

Noted from_json(const json& text) {
    Noted noted;
    if (text.at("format").get<int>() != 1) throw Error(ErrorKind::corrupted, "its format is not known");
    noted.info.step = static_cast<Step>(text.at("step").get<std::int64_t>());
    noted.info.run = text.at("run").get<std::string>();
    noted.info.digest = fingerprint_from(text.at("digest").get<std::string>());
    noted.info.seed = text.at("seed").get<std::uint64_t>();
    noted.info.data_position = text.at("data_position").get<std::uint64_t>();
    noted.info.learning_rate = text.at("learning_rate").get<double>();
    noted.info.loss = text.at("loss").is_null() ? std::nan("") : text.at("loss").get<double>();
    for (const json& pair : text.at("settings"))
        noted.info.settings.emplace_back(pair.at(0).get<std::string>(), pair.at(1).get<std::string>());
    for (const json& section : text.at("sections")) {
        noted.sections.push_back({.name = section.at("name").get<std::string>(),
                                  .tensors = section.at("tensors").get<std::vector<std::string>>()});
    }
    noted.tensors_hash = Digest::from_hex(text.at("tensors_sha256").get<std::string>());
    return noted;
}

Noted read_info(const std::filesystem::path& file) {
    std::ifstream in(file, std::ios::binary);
    if (!in)
        throw Error(ErrorKind::bad_input,
                    fmt::format("cannot read the checkpoint {}: {}", file.string(), std::strerror(errno)));
    std::ostringstream text;
    text << in.rdbuf();
    try {
        return from_json(json::parse(std::move(text).str()));
    } catch (const json::exception&) {
        throw Error(ErrorKind::corrupted,
                    file.string() + " is damaged: it is not the JSON that Shoal writes beside a checkpoint");
    } catch (const Error& error) {
        throw Error(ErrorKind::corrupted, fmt::format("{} is damaged: {}", file.string(), error.what()));
    }
}

/// The reverse of cut(). Moves the values out of the tensors.
collective::State join(const Noted& noted, TensorFile& file, const std::filesystem::path& name) {
    std::map<std::string, Tensor*> by_name;
    for (Tensor& tensor : file.tensors) by_name[tensor.name] = &tensor;
    collective::State state;
    state.step = noted.info.step;
    for (const Section& section : noted.sections) {
        collective::StateSection joined{.name = section.name, .values = {}};
        for (const std::string& tensor : section.tensors) {
            const auto found = by_name.find(tensor);
            if (found == by_name.end())
                throw Error(ErrorKind::corrupted,
                            fmt::format("{} is damaged: the tensor '{}' is missing", name.string(), tensor));
            const std::vector<float>& values = found->second->values;
            joined.values.insert(joined.values.end(), values.begin(), values.end());
        }
        state.sections.push_back(std::move(joined));
    }
    return state;
}

/// The step of a file name "step-000123.json", or nothing.
std::optional<Step> step_of(const std::filesystem::path& file) {
    const std::string name = file.filename().string();
    constexpr std::string_view kStart = "step-", kEnd = ".json";
    if (!name.starts_with(kStart) || !name.ends_with(kEnd)) return std::nullopt;
    std::int64_t number = 0;
    const char* last = name.data() + name.size() - kEnd.size();
    const auto [end, error] = std::from_chars(name.data() + kStart.size(), last, number);
    if (error != std::errc() || end != last || number < 0) return std::nullopt;
    return static_cast<Step>(number);
}

std::string base_name(Step step) {
    return fmt::format("step-{:06}", value(step));
}

}  // namespace

CheckpointFolder::CheckpointFolder(std::filesystem::path folder, std::int64_t keep, Log log)
    : folder_(std::move(folder)), keep_(std::max<std::int64_t>(keep, 1)), log_(std::move(log)) {}

std::filesystem::path CheckpointFolder::tensor_file(Step step) const {
    return folder_ / (base_name(step) + ".safetensors");
}

std::filesystem::path CheckpointFolder::info_file(Step step) const {
    return folder_ / (base_name(step) + ".json");
}

void CheckpointFolder::prepare() const {
    try {
        AtomicFile trial(folder_ / "trial");  // goes away uncommitted
        const Bytes bytes(4096);
        trial.write(bytes);
        if (const int abandoned = AtomicFile::remove_abandoned(folder_); abandoned > 0)
            log_.info(fmt::format("removed {} files that a killed process had left half-written in {}",
                                  abandoned, folder_.string()));
    } catch (const Error& error) {
        throw Error(ErrorKind::bad_input,
                    fmt::format("no checkpoint can be written in {}: {}. Give another checkpoints.folder, or "
                                "set checkpoints.every = 0 to go without",
                                folder_.string(), error.what()));
    }
}

void CheckpointFolder::write(const CheckpointInfo& info, const collective::State& state,
                             std::span<const TensorLayout> layout) const {
    if (info.step != state.step || info.digest != digest_of(state))
        throw Error(ErrorKind::invalid_argument,
                    fmt::format("the state is not the one of step {} that the checkpoint is to hold",
                                value(info.step)));
    std::vector<TensorView> views;
    std::vector<Section> sections;
    cut(state, layout, views, sections);
    const std::map<std::string, std::string> metadata = {
        {"format", "pt"}, {"run", info.run}, {"step", std::to_string(value(info.step))}};
    AtomicFile tensors(tensor_file(info.step)), out(info_file(info.step));
    const Digest hash = write_safetensors(tensors, views, metadata);
    out.write(as_bytes(to_json(info, sections, hash).dump(2) + "\n"));
    tensors.flush();
    out.flush();
    // Only now that the new one is on the disk: a good one must not make room for one that never comes.
    move_aside(info_file(info.step));
    move_aside(tensor_file(info.step));
    tensors.commit();
    out.commit();
    leave_later_ones(info.step);
    remove_old();
}

/// What this peer has trained beyond the step that it is at now belongs to a history that it has left, for
/// that of the swarm: the next start must not take it for the newest.
void CheckpointFolder::leave_later_ones(Step newest) const {
    for (const Step step : steps()) {
        if (step <= newest) continue;
        move_aside(info_file(step));  // first: without it the tensors are no checkpoint any more
        move_aside(tensor_file(step));
    }
}

void CheckpointFolder::move_aside(const std::filesystem::path& file) const {
    std::error_code error;
    if (!std::filesystem::exists(file, error)) return;
    for (int number = 1;; ++number) {
        std::filesystem::path aside = file;
        aside += fmt::format(".old-{}", number);
        if (std::filesystem::exists(aside, error)) continue;
        std::filesystem::rename(file, aside, error);
        if (error)
            throw Error(ErrorKind::system,
                        fmt::format("cannot move {} aside: {}", file.string(), error.message()));
        log_.warning(file.string() + " was moved aside, to " + aside.filename().string());
        return;
    }
}

void CheckpointFolder::remove_old() const {
    const std::vector<Step> all = steps();
    if (all.size() <= static_cast<std::size_t>(keep_)) return;
    for (std::size_t i = 0; i + static_cast<std::size_t>(keep_) < all.size(); ++i) {
        // The JSON first: without it the tensors are no checkpoint any more.
        std::error_code error;
        std::filesystem::remove(info_file(all[i]), error);
        std::filesystem::remove(tensor_file(all[i]), error);
        if (error) log_.warning("cannot remove " + tensor_file(all[i]).string() + ": " + error.message());
    }
}

std::vector<Step> CheckpointFolder::steps() const {
    std::vector<Step> found;
    std::error_code error;
    for (std::filesystem::directory_iterator entry(folder_, error), end; !error && entry != end;
         entry.increment(error)) {
        if (const auto step = step_of(entry->path())) found.push_back(*step);
    }
    std::sort(found.begin(), found.end());
    found.erase(std::unique(found.begin(), found.end()), found.end());
    return found;
}

std::optional<Checkpoint> CheckpointFolder::latest() const {
    const std::vector<Step> all = steps();
    if (all.empty()) return std::nullopt;
    try {
        return read(all.back());
    } catch (const Error&) {
        std::string causes;
        const std::optional<Step> intact = newest_intact(causes);
        if (!intact || causes.empty()) throw;  // somebody changes the folder at this moment
        throw Error(ErrorKind::corrupted,
                    fmt::format("{}. The newest intact checkpoint is {}: to go on from it, say "
                                "--set checkpoints.fall_back=true",
                                causes, tensor_file(*intact).string()));
    }
}

/// @param causes  gets what is wrong with each one that is newer. Throws if there are some and none is
/// intact.
std::optional<Step> CheckpointFolder::newest_intact(std::string& causes) const {
    const std::vector<Step> all = steps();
    for (auto step = all.rbegin(); step != all.rend(); ++step) {
        try {
            read(*step);
            return *step;
        } catch (const Error& error) {
            causes += std::string(causes.empty() ? "" : "; ") + error.what();
        }
    }
    if (causes.empty()) return std::nullopt;
    throw Error(ErrorKind::corrupted,
                fmt::format("every checkpoint in {} is damaged ({}). Move them away to start "
                            "from the first step",
                            folder_.string(), causes));
}

void CheckpointFolder::fall_back() const {
    std::string causes;
    const std::optional<Step> intact = newest_intact(causes);
    if (!intact || causes.empty()) return;
    log_.warning(fmt::format("goes back to the checkpoint of step {}: {}", value(*intact), causes));
    leave_later_ones(*intact);
}

Checkpoint CheckpointFolder::read(Step step) const {
    Noted noted = read_info(info_file(step));
    if (noted.info.step != step)
        throw Error(ErrorKind::corrupted, fmt::format("{} is damaged: it says it is of step {}",
                                                      info_file(step).string(), value(noted.info.step)));
    TensorFile file = read_safetensors(tensor_file(step), &noted.tensors_hash);
    Checkpoint checkpoint;
    checkpoint.state = join(noted, file, tensor_file(step));
    if (digest_of(checkpoint.state) != noted.info.digest)
        throw Error(ErrorKind::corrupted, fmt::format("{} is damaged: it notes the digest of another state",
                                                      info_file(step).string()));
    checkpoint.info = std::move(noted.info);
    return checkpoint;
}

void check_fits(const CheckpointInfo& info, const net::AgreedSettings& settings) {
    const std::map<std::string, std::string> noted(info.settings.begin(), info.settings.end());
    for (const auto& [name, setting] : settings) {
        const bool matters = name == "run.name" || name.starts_with("model.") || name == "optimizer.name" ||
                             name == "data.kind" || name == "data.vocabulary_sha256";
        if (!matters) continue;
        const auto found = noted.find(name);
        if (found != noted.end() && found->second != setting)
            throw Error(
                ErrorKind::bad_input,
                fmt::format("the checkpoint of step {} is of {} = {}, the run file says {}. Give another "
                            "--folder to start anew",
                            value(info.step), name, found->second, setting));
    }
}

}  // namespace shoal::run
