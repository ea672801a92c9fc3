#include "shoal/optim/parameter_layout.h"

#include <algorithm>
#include <limits>
#include <set>
#include <utility>

#include "shoal/base/error.h"

namespace shoal::optim {

namespace {

/// Byte offsets must fit a signed 64-bit number, so elements are limited to a quarter of that.
constexpr std::int64_t kMostElements = std::numeric_limits<std::int64_t>::max() / 4;

std::int64_t elements_of(const ParameterTensor& tensor) {
    std::int64_t elements = 1;
    for (const std::int64_t dimension : tensor.shape) {
        if (dimension < 0 || (dimension > 0 && elements > kMostElements / dimension)) {
            throw Error(
                ErrorKind::invalid_argument,
                "tensor '" + tensor.name + "' has an impossible dimension " + std::to_string(dimension));
        }
        elements *= dimension;
    }
    return elements;
}

}  // namespace

ParameterLayout::ParameterLayout(std::vector<ParameterTensor> tensors) {
    std::set<std::string> names;
    std::int64_t end = 0;
    tensors_.reserve(tensors.size());
    for (ParameterTensor& tensor : tensors) {
        if (tensor.name.empty()) throw Error(ErrorKind::invalid_argument, "a tensor without a name");
        if (!names.insert(tensor.name).second) {
            throw Error(ErrorKind::invalid_argument, "two tensors are named '" + tensor.name + "'");
        }
        if (tensor.frozen_steps < 0)
            throw Error(ErrorKind::invalid_argument,
                        "tensor '" + tensor.name + "' cannot be frozen for a negative number of steps");
        const std::int64_t count = elements_of(tensor);
        if (count > kMostElements - end) {
            throw Error(ErrorKind::invalid_argument, "too many parameters, at tensor '" + tensor.name + "'");
        }
        PlacedTensor placed;
        static_cast<ParameterTensor&>(placed) = std::move(tensor);
        placed.offset = static_cast<std::size_t>(end);
        placed.count = static_cast<std::size_t>(count);
        tensors_.push_back(std::move(placed));
        end += count;
    }
    size_ = static_cast<std::size_t>(end);
}

const PlacedTensor* ParameterLayout::find(std::string_view name) const {
    const auto found = std::find_if(tensors_.begin(), tensors_.end(),
                                    [&](const PlacedTensor& tensor) { return tensor.name == name; });
    return found == tensors_.end() ? nullptr : &*found;
}

std::string ParameterLayout::describe() const {
    std::string text;
    for (const PlacedTensor& tensor : tensors_) {
        text += tensor.name + " [";
        for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
            if (i > 0) text += ", ";
            text += std::to_string(tensor.shape[i]);
        }
        text += tensor.decay ? "] decays" : "]";
        if (tensor.frozen_steps > 0) text += ", frozen for " + std::to_string(tensor.frozen_steps) + " steps";
        text += "\n";
    }
    return text;
}

}  // namespace shoal::optim
