// Where each tensor of a model lies in the one flat vector of floats that travels, is averaged and is
// stepped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace shoal::optim {

/// A tensor as the model describes it.
struct ParameterTensor {
    std::string name;                 ///< unique, not empty
    std::vector<std::int64_t> shape;  ///< row-major; no dimension: a scalar
    bool decay = true;  ///< whether weight decay applies; not to biases and normalisations, as a rule
    std::int64_t frozen_steps = 0;  ///< global steps before the first that changes it; not negative
};

/// A tensor and its place.
struct PlacedTensor : ParameterTensor {
    std::size_t offset = 0;  ///< of its first element in the flat vector
    std::size_t count = 0;   ///< of its elements
};

class ParameterLayout {
  public:
    ParameterLayout() = default;

    /// Places the tensors one behind the other, in this order, without gaps. Throws Error(invalid_argument)
    /// on an empty or repeated name, a negative dimension, or more elements than a vector can have.
    explicit ParameterLayout(std::vector<ParameterTensor> tensors);

    /// Elements of the flat vector.
    std::size_t size() const { return size_; }

    const std::vector<PlacedTensor>& tensors() const { return tensors_; }

    /// The tensor of that name, or nullptr.
    const PlacedTensor* find(std::string_view name) const;

    /// One line a tensor: name, dimensions, whether it decays. Peers whose texts are equal hold the same
    /// model; its hash belongs into the settings that a handshake compares.
    std::string describe() const;

  private:
    std::vector<PlacedTensor> tensors_;
    std::size_t size_ = 0;
};

}  // namespace shoal::optim
