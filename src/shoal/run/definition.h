// What a run is: one TOML file that every peer of the run has, and the few settings that differ from peer to
// peer, which flags override.
//
// The structs are plain: rooms below (optim, nn, data) have settings of their own, and who assembles a peer
// copies. Every key, its type, range, meaning and default stand in one table (schema.h); the parser, the
// flags, the template, and the settings that peers compare in their handshake follow from it.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "shoal/base/clock.h"
#include "shoal/base/error.h"
#include "shoal/net/tcp_network.h"

namespace shoal::run {

struct RunSection {
    std::string name;                       ///< names the swarm; peers of different runs never mix
    std::int64_t target_batch_size = 1024;  ///< samples of the whole swarm for one step
    std::int64_t steps = 1000;              ///< training ends after so many
    std::int64_t seed = 0;                  ///< of the first parameters and the data order
    std::int64_t evaluate_every = 0;        ///< steps between two held-out losses; 0: never
};

struct ModelSection {
    std::string kind = "albert";  ///< "albert", "convnet", "resnet", "swav" or "torchscript"
    std::filesystem::path file;   ///< of a TorchScript model
    std::string file_sha256;      ///< lets a peer without the file (auxiliary) prove that it means the same
    std::string size = "tiny";    ///< preset of a built-in model; the numbers below override it where not 0
    std::int64_t vocabulary_size = 0;
    std::int64_t embedding_size = 0;
    std::int64_t hidden_size = 0;
    std::int64_t feedforward_size = 0;
    std::int64_t layers = 0;
    std::int64_t heads = 0;
    std::int64_t filters = 0;    ///< of the first stage of a convnet or ResNet
    std::int64_t blocks = 0;     ///< of a convnet, a stage
    std::vector<double> depths;  ///< of a ResNet: blocks in each stage; empty: by size
    std::string block;           ///< of a ResNet: "basic" or "bottleneck"; empty: by size
    std::string stem;            ///< of a ResNet: "small" or "large"; empty: by size
    double dropout = 0;
    double adversary_radius = 0;  ///< of the ball in which embedded words are perturbed; 0: no adversary
    double adversary_rate = 1;    ///< of a step, in radii
    std::int64_t adversary_steps = 1;
};

/// Swapped prediction between views of an image (model kind "swav"). The first three: 0 is by size.
struct SwavSection {
    std::int64_t projection_hidden = 0;
    std::int64_t projection = 0;
    std::int64_t prototypes = 0;
    std::int64_t frozen_steps = 100;  ///< of the prototypes at the start
    double temperature = 0.1;
    double epsilon = 0.03;  ///< of Sinkhorn-Knopp
    std::int64_t sinkhorn_iterations = 3;
    std::int64_t queue = 0;                         ///< earlier samples that balance the assignments
    std::int64_t queue_from_step = 0;               ///< the queue is used from this step on
    std::int64_t large_crop = 0;                    ///< pixels a side; 0: as the images
    std::array<double, 2> large_scale = {0.14, 1};  ///< share of the image's area
    std::int64_t small_crops = 6;
    std::int64_t small_crop = 0;  ///< pixels a side; 0: 3/7 of large_crop
    std::array<double, 2> small_scale = {0.05, 0.14};
    double flip = 0.5;                            ///< probability
    double colour = 1;                            ///< strength of the distortion
    double blur = 0.5;                            ///< probability
    std::array<double, 2> blur_sigma = {0.1, 2};  ///< pixels
};

struct DataSection {
    std::string kind = "text";         ///< "text", "tokens", "images", "fashion-mnist" or "image-folder"
    std::filesystem::path path;        ///< file or folder
    std::filesystem::path vocabulary;  ///< SentencePiece model of a "text" data set
    std::string vocabulary_sha256;     ///< as model.file_sha256
    std::int64_t sequence_length = 128;
    std::int64_t vocabulary_size = 0;   ///< "tokens": ids are below it; 0 does not check
    std::int64_t micro_batch_size = 8;  ///< samples this peer computes at once
    double held_out = 0.02;             ///< share that is never trained on
    double masked = 0.15;               ///< share of the tokens to guess ("text")
    std::int64_t image_size = 224;      ///< pixels a side that images are brought to ("image-folder")
};

struct OptimizerSection {
    std::string name = "lamb";  ///< "lamb", "larc", "adamw" or "sgd"
    std::array<double, 2> betas = {0.9, 0.999};
    double epsilon = 1e-6;
    double weight_decay = 0.01;  ///< not applied to biases and normalisation
    double momentum = 0.9;       ///< "sgd", "larc"
    bool nesterov = false;       ///< "sgd"
    bool bias_correction = true;
    double maximum_weight_norm = 10000;  ///< "lamb": upper clamp of ||w|| in the trust ratio
    double trust = 0.001;                ///< "larc": how far a tensor moves for its norm
    bool trust_clip = false;             ///< "larc": no tensor's rate above the schedule's
    double clip_gradient_norm = 1;       ///< of the swarm's average; 0: no clipping
};

/// Optimizer steps of each peer's own between two averages (optim/local_updates.h).
struct LocalUpdatesSection {
    std::int64_t batch_size = 0;  ///< samples of such a step; 0: none, every average is of gradients
    double outer_learning_rate = 0.7;
    double outer_momentum = 0.9;
};

struct ScheduleSection {
    std::string kind = "linear";     ///< "constant", "linear" or "cosine", after a linear warm-up
    double learning_rate = 1e-3;     ///< at the peak
    double start_learning_rate = 0;  ///< where the warm-up begins
    double final_learning_rate = 0;
    std::int64_t warmup_steps = 0;
    std::int64_t total_steps = 0;  ///< where the final rate is reached; 0: run.steps
};

struct AveragingSection {
    std::string codec = "fp16";        ///< of gradients; a name that compress::make_codec knows
    std::string small_codec;           ///< of small tensors' gradients; empty: the same
    std::int64_t small_below = 65536;  ///< tensors of fewer elements are small
    /// "auto": where the codec leaves out more than a hundredth of a vector's square, "on" or "off"
    std::string error_feedback = "auto";
    std::string state_codec = "fp32";  ///< of the state that newcomers load
    std::int64_t chunk_elements = 65536;
    std::int64_t maximum_group = 64;
    std::int64_t group_size = 0;   ///< the swarm averages in groups of about so many peers; 0: in one group
    bool adaptive_quorum = false;  ///< wait for late peers only as long as it pays
    bool choose_roles = false;     ///< who sends too slowly to be of use computes nothing
    bool delayed = false;          ///< compute the next batch while this one is averaged
    double bandwidth = 0;          ///< megabits per second of this peer, both ways; 0: as measured
    double upload = 0;             ///< megabits per second of one way; 0: as `bandwidth`
    double download = 0;
    double join_timeout = 5;          ///< seconds
    double stall_timeout = 1.5;       ///< seconds
    double alone_after = 5;           ///< seconds until a peer that finds nobody begins the run
    double lost_quorum_timeout = 30;  ///< seconds until survivors that are no quorum go on
};

struct NetworkSection {
    std::vector<std::string> bootstrap;  ///< "host:port" of peers that are usually there
    std::string listen_host = "0.0.0.0";
    std::int64_t listen_port = 0;       ///< TCP, and UDP of the directory; 0: any free port
    std::vector<std::string> announce;  ///< "host:port" under which others reach this peer; empty: found out
    bool client_mode = false;           ///< accept no connection
    std::string directory = "auto";     ///< "udp", "through-peers", or by what UDP does: "auto"
    double dial_timeout = 10;           ///< seconds
    double peer_timeout = 2;            ///< seconds of silence after which a peer is lost
    std::int64_t far_connections = 4;   ///< TCP connections to a peer that is 40 ms away or more
    std::int64_t maximum_unread = 0;    ///< MiB held for all others together; 0: an eighth of the memory
};

struct PeerSection {
    std::string name;                ///< for humans; empty: the short PeerId
    std::filesystem::path folder;    ///< key, metrics, checkpoints; empty: "shoal-<run>" here
    std::filesystem::path key_file;  ///< empty: key.pem in the folder
    std::int64_t threads = 0;        ///< of the computation; 0: all cores
    double load = 1;                 ///< share of the time to compute, in (0, 1]
    std::string metrics_host = "127.0.0.1";
    std::int64_t metrics_port = -1;  ///< Prometheus; -1: none, 0: any free port
};

struct CheckpointSection {
    std::int64_t every = 100;      ///< steps; 0: never
    std::int64_t keep = 3;         ///< newest ones
    std::filesystem::path folder;  ///< empty: "checkpoints" in the peer's folder
    bool fall_back = false;        ///< from a damaged newest one to the one before
};

struct RunDefinition {
    RunSection run;
    ModelSection model;
    SwavSection swav;
    DataSection data;
    OptimizerSection optimizer;
    LocalUpdatesSection local_updates;
    ScheduleSection schedule;
    AveragingSection averaging;
    NetworkSection network;
    PeerSection peer;
    CheckpointSection checkpoints;

    /// The peer's folder with its default filled in.
    std::filesystem::path peer_folder() const;
    std::filesystem::path checkpoint_folder() const;
    std::filesystem::path key_file() const;
    /// Where the schedule ends: schedule.total_steps or run.steps.
    std::int64_t schedule_steps() const {
        return schedule.total_steps > 0 ? schedule.total_steps : run.steps;
    }
};

/// A setting from the command line. `origin` is what the user typed, for messages: "--set run.steps=x",
/// "--port 99999".
struct Override {
    std::string key;  ///< "section.key"
    std::string value;
    std::string origin;
};

/// "section.key=value" as given to --set. Throws Error(invalid_argument) if there is no '=' or no '.'.
Override parse_override(const std::string& text);

/// What the definition is wanted for; decides what must be there.
enum class Purpose {
    training,   ///< everything: run, model, data
    averaging,  ///< an auxiliary peer: all that peers share, no data file
    meeting,    ///< a bootstrap peer, status, doctor: nothing is required
};

/// A run file, or flags, that cannot be used.
class DefinitionError : public Error {
  public:
    /// @param problems  each as "file:line:column: text".
    DefinitionError(ErrorKind kind, const std::string& what, std::vector<std::string> problems)
        : Error(kind, what), problems_(std::move(problems)) {}
    const std::vector<std::string>& problems() const { return problems_; }

  private:
    std::vector<std::string> problems_;
};

/// Reads a run file, applies overrides (later ones win), and checks everything. Relative paths in the file
/// are taken from the file's folder, those in overrides from the working folder.
/// Throws DefinitionError(bad_input) that lists all problems at once, or DefinitionError(invalid_argument)
/// when only overrides are wrong; Error(bad_input) if the file cannot be read.
RunDefinition load_definition(const std::filesystem::path& file, const std::vector<Override>& overrides,
                              Purpose purpose);

/// The same from text. @param name  stands for the file in messages; its folder is where relative paths
/// start.
RunDefinition parse_definition(std::string_view toml, const std::filesystem::path& name,
                               const std::vector<Override>& overrides, Purpose purpose);

/// The same without a file: defaults and overrides.
RunDefinition definition_from(const std::vector<Override>& overrides, Purpose purpose);

/// What all peers of a run must share, for the handshake: names as in the file ("optimizer.name"), values in
/// one canonical form, without keys that mean nothing to the model's kind, and the SHA-256 of the vocabulary
/// and of a TorchScript file, read here unless the run file states them. Throws Error(bad_input) if such a
/// file is missing, or differs from the stated hash.
net::AgreedSettings agreed_settings(const RunDefinition& definition);

/// A commented run file with every key at its default: a start for one's own.
std::string definition_template();

}  // namespace shoal::run
