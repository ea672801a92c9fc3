// Checkpoints: the state of one peer after a step, from which it, or a whole stopped run, goes on.
//
// A checkpoint is two files: step-000123.safetensors with the tensors, which PyTorch opens as they are, and
// step-000123.json with everything else. The JSON is written last and holds the tensors' SHA-256: only when
// it is there is the checkpoint complete. Nothing is ever overwritten: what already stands under a name is
// moved aside once the new one is on the disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "shoal/base/hash.h"
#include "shoal/base/log.h"
#include "shoal/base/units.h"
#include "shoal/collective/compute.h"
#include "shoal/net/tcp_network.h"

namespace shoal::run {

/// One tensor of the model within the flat section "parameters".
struct TensorLayout {
    std::string name;
    std::vector<std::int64_t> shape;
};

struct CheckpointInfo {
    Step step{};
    std::string run;
    Fingerprint digest;               ///< of parameters and optimizer state, as in progress records
    std::uint64_t seed = 0;           ///< of the data order
    std::uint64_t data_position = 0;  ///< samples of its own stream that this peer has used
    double learning_rate = 0;         ///< of the step that was taken last
    double loss = 0;                  ///< of that step; NaN when unknown
    net::AgreedSettings settings;     ///< of the run, to notice a checkpoint of another model
};

struct Checkpoint {
    CheckpointInfo info;
    collective::State state;
};

class CheckpointFolder {
  public:
    /// Creates nothing yet. @param keep  how many of the newest stay after a write; at least 1.
    CheckpointFolder(std::filesystem::path folder, std::int64_t keep, Log log);

    /// Makes the folder, tries whether it can be written, and removes what a killed process has left
    /// half-written. Throws Error(bad_input) with the cause. Blocks.
    void prepare() const;

    /// Writes a checkpoint, moves those of later steps aside (`.old-1`) and removes those that are too old.
    /// Sections of the length of the parameters are written tensor by tensor under the layout's names
    /// ("optimizer/first_moment/<name>"), others as one flat tensor. Blocks (disk): call it on a worker
    /// thread. Throws Error(system) naming the file, Error(invalid_argument) if layout and parameters do not
    /// fit, or if step and digest are not those of the state.
    void write(const CheckpointInfo& info, const collective::State& state,
               std::span<const TensorLayout> layout) const;

    /// The newest checkpoint, or nothing if there is none at all. Throws Error(corrupted) if it is damaged,
    /// naming its file and the newest intact one, or that none is: to go back, or to start anew, must be the
    /// user's decision. Blocks.
    std::optional<Checkpoint> latest() const;

    /// Moves the damaged checkpoints aside that are newer than the newest intact one (`.old-1`), with a
    /// warning for each. Throws Error(corrupted) if there are some but all are damaged, and leaves them where
    /// they are. Blocks.
    void fall_back() const;

    /// Reads one. Throws Error(bad_input) if it is not there, Error(corrupted) naming file and cause, also if
    /// the noted digest is not the state's.
    Checkpoint read(Step step) const;

    /// Steps of all complete checkpoints (intact or not), ascending.
    std::vector<Step> steps() const;

    std::filesystem::path tensor_file(Step step) const;
    std::filesystem::path info_file(Step step) const;

  private:
    void move_aside(const std::filesystem::path& file) const;
    void leave_later_ones(Step newest) const;
    void remove_old() const;
    std::optional<Step> newest_intact(std::string& causes) const;

    std::filesystem::path folder_;
    std::int64_t keep_;
    Log log_;
};

/// Throws Error(bad_input) naming the first setting that differs if a checkpoint cannot be continued with
/// these settings: another run, model or optimizer. (Steps, batch size, learning rate may be changed between
/// two runs.)
void check_fits(const CheckpointInfo& info, const net::AgreedSettings& settings);

}  // namespace shoal::run
