// A model as the trainer sees it: flat arrays of floats and a loss. No libtorch type appears here.
//
// All trainable parameters lie in ONE flat array of floats in the order of parameters(), without gaps, and
// their gradients in another of the same form; reading either out costs nothing. There is no other state that
// a model is made of: TorchScript models that have some (running statistics of batch normalisation) are
// refused, and the built-in ones normalise by the batch (batch_norm.h), so whoever holds the parameters holds
// the model.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "shoal/data/batch.h"

namespace shoal::nn {

/// Of kind "swav"; see swav.h. The first three: 0 is by size.
struct SwavSettings {
    std::int64_t projection_hidden = 0, projection = 0, prototypes = 0;
    std::int64_t frozen_steps = 100;  ///< of the prototypes, from the beginning of the run
    double temperature = 0.1;         ///< 0.001 to 10, as epsilon
    double epsilon = 0.03;
    std::int64_t sinkhorn_iterations = 3;
    std::int64_t queue = 0;            ///< samples; 0: none
    std::int64_t queue_from_step = 0;  ///< see Model::set_step()
};

/// Adversarial training (adversary.h): the loss of a sample is the worst that a perturbation of its embedded
/// words finds.
struct AdversarySettings {
    double radius = 0;       ///< of the ball of a sample's perturbation, L2; 0: no adversary
    double rate = 1;         ///< of a step, in radii
    std::int64_t steps = 1;  ///< of gradient ascent; each costs about as much as a forward and backward pass
};

struct ModelSettings {
    /// "albert", "convnet", "resnet", "swav", or the path of a TorchScript file, which ends in .pt
    /// (script_model.h).
    std::string kind = "albert";
    /// "tiny", "small", "base" or "large"; "convnet" has tiny and small only. Fields below that are above 0
    /// override what the size says.
    std::string size = "tiny";
    /// Of the initial parameters, which are the same on every machine. Without meaning for TorchScript, whose
    /// file brings them.
    std::uint64_t seed = 0;
    /// Of libtorch, in the calling process. One a peer when several peers share a machine.
    int threads = 1;

    // ALBERT
    std::int64_t vocabulary_size = 0;  ///< required; Dataset::shape() has it
    std::int64_t sequence_length = 0;  ///< required; longest sample
    std::int64_t embedding_size = 0;
    std::int64_t hidden_size = 0;
    std::int64_t layers = 0;
    std::int64_t heads = 0;
    std::int64_t feedforward_size = 0;
    double dropout = 0;  ///< of the built-in models, in [0, 1); its masks differ from peer to peer

    AdversarySettings adversary;

    // ConvNet, ResNet, SwAV
    std::int64_t channels = 0;  ///< required; and the next three for the ConvNet, classes for the ResNet
    std::int64_t height = 0;
    std::int64_t width = 0;
    std::int64_t classes = 0;
    std::int64_t filters = 0;  ///< of the first stage; doubles with each. Of the ConvNet a multiple of 8
    std::int64_t blocks = 0;   ///< ConvNet: residual blocks a stage

    // ResNet, SwAV
    std::vector<std::int64_t> depths;  ///< residual blocks of each stage; empty: by size
    std::string block;                 ///< "basic" or "bottleneck"; empty: by size
    std::string stem;                  ///< "small" or "large"; empty: by size
    SwavSettings swav;
};

/// Fills in what the data set knows: vocabulary_size and sequence_length, or the form of the images; set
/// fields stay.
void adopt_shape(ModelSettings& settings, const data::DataShape& shape);

/// One tensor within the flat array.
struct Parameter {
    std::string name;  ///< as in PyTorch's state_dict; ALBERT's names are those of Hugging Face's
                       ///< AlbertForPreTraining
    std::vector<std::int64_t> shape;  ///< row-major
    std::size_t offset = 0;           ///< of its first element
    std::size_t size = 0;             ///< elements
    bool decay = true;  ///< weight decay applies; not to biases and normalisations, that is tensors of one
                        ///< dimension or none
    std::int64_t frozen_steps = 0;  ///< steps of the swarm that leave it as it was made
};

/// Used from one thread at a time; any thread will do.
class Model {
  public:
    virtual ~Model() = default;

    /// In the order of the flat array; the same on every peer with the same settings.
    virtual const std::vector<Parameter>& parameters() const = 0;

    /// The parameters themselves, live: the model computes with what is written here. Valid as long as the
    /// model.
    virtual std::span<float> values() = 0;
    std::span<const float> values() const { return const_cast<Model*>(this)->values(); }

    /// SUM over all samples since zero_gradients() of the gradient of each sample's loss. Live, valid as long
    /// as the model.
    virtual std::span<const float> gradient_sum() const = 0;
    /// Samples that gradient_sum() holds.
    virtual std::int64_t accumulated_samples() const = 0;
    virtual void zero_gradients() = 0;

    /// The global step that the parameters have reached, for models whose loss depends on it (SwAV's queue);
    /// 0 until told otherwise.
    virtual void set_step(std::int64_t /*step*/) {}

    /// Adds the gradients of a batch and returns the mean loss over its samples. In every built-in model
    /// without batch normalisation, that is all but ResNet and SwAV, the loss of a batch is the mean of its
    /// samples' own losses, so that it does not matter how samples are cut into batches. Throws
    /// Error(invalid_argument) if the batch is of a kind or shape that the model does not take,
    /// Error(bad_input) if a TorchScript file does not fit; the gradients are then unchanged, unless the
    /// failure came in the backward pass, when they are zeroed. The loss may be NaN or infinite: the trainer
    /// decides.
    virtual double forward_backward(const data::Batch& batch) = 0;

    /// The mean loss without gradients and without dropout; with an adversary, if there is one.
    virtual double evaluate(const data::Batch& batch) = 0;

    /// One line for humans: kind, size, number of parameters.
    virtual std::string describe() const = 0;

    /// Number of floats.
    std::size_t size() const { return values().size(); }
    /// Copies all parameters out or in. Throws Error(invalid_argument) unless the sizes are equal.
    void copy_values_to(std::span<float> out) const;
    void set_values(std::span<const float> values);
    /// Writes the MEAN gradient over the accumulated samples (zeros when there are none). Throws
    /// Error(invalid_argument) unless out.size() == size().
    void read_mean_gradient(std::span<float> out) const;
};

/// Throws Error(invalid_argument) for settings that make no sense, Error(bad_input) for a TorchScript file
/// that is missing or does not fit.
std::unique_ptr<Model> make_model(const ModelSettings& settings);

}  // namespace shoal::nn
