// Machines with slow lines, on this one: network namespaces on a common bridge, their lines shaped by tc.
//
//     machine 0                   hub                    machine 1
//     line (10.77.0.1) == veth == p0 [bridge] p1 == veth == line (10.77.0.2)
//     tbf: upload            tbf: download               ...
//
// Nothing of this has a name on the machine. A namespace lives as long as a descriptor of it, which this
// process holds and its children inherit; bridge, lines and rates end with their namespaces. So nothing is
// left behind, however a process ends, kill -9 included, and nothing outside is touched: the hub has a
// namespace of its own. Set-up: DeDLOC, notes 6.1. Needs the programs ip and tc (Debian: iproute2).
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace shoal::lab {

/// A network namespace without a name. Not copyable.
class NetworkNamespace {
  public:
    /// Throws Error(system) that says what the user can do if this process may not make one.
    NetworkNamespace();
    ~NetworkNamespace();
    NetworkNamespace(NetworkNamespace&& other) noexcept;
    NetworkNamespace& operator=(NetworkNamespace&& other) noexcept;

    /// Children inherit it under the same number.
    int descriptor() const { return descriptor_; }

  private:
    int descriptor_ = -1;
};

/// The calling thread (and what it starts) moves into the namespace behind a descriptor. Throws
/// Error(system).
void enter_network_namespace(int descriptor);

/// One machine's line, bits per second.
struct ShapedLine {
    double upload = 0, download = 0;
};

class ShapedLines {
  public:
    /// Makes a machine for each line. Throws Error(system) with what ip or tc said.
    explicit ShapedLines(const std::vector<ShapedLine>& lines);

    /// Pulls a machine's plug out of the bridge, or puts it back: nothing reaches it, and nobody is told.
    /// Throws Error(system).
    void set_plugged(std::size_t machine, bool plugged);

    /// The namespace of a machine: for enter_network_namespace() here or in a child.
    int descriptor(std::size_t machine) const { return machines_[machine].descriptor(); }
    static std::string address(std::size_t machine);

  private:
    NetworkNamespace hub_;
    std::vector<NetworkNamespace> machines_;
};

/// At most so many machines: addresses are 10.77.0.1 to 10.77.0.250.
inline constexpr std::size_t kMostMachines = 250;

}  // namespace shoal::lab
