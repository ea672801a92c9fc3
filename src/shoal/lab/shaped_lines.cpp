#include "shoal/lab/shaped_lines.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <fcntl.h>
#include <fmt/format.h>
#include <functional>
#include <sched.h>
#include <thread>
#include <unistd.h>
#include <utility>

#include "shoal/base/error.h"

namespace shoal::lab {
namespace {

/// What a line may send at once, and how long it holds back what comes too fast before it drops it.
constexpr const char* kShape = "burst 64kbit latency 100ms";

/// A namespace is a thread's own affair, so that the process as a whole stays where it is.
void on_another_thread(const std::function<void()>& work) {
    std::exception_ptr failure;
    std::thread thread([&] {
        try {
            work();
        } catch (...) {
            failure = std::current_exception();
        }
    });
    thread.join();
    if (failure) std::rethrow_exception(failure);
}

std::string reason() {
    return std::strerror(errno);
}

int make_namespace() {
    if (unshare(CLONE_NEWNET) != 0)
        throw Error(ErrorKind::system,
                    "this process may not make network namespaces (" + reason() +
                        "): run it as root (sudo shoal lab ...), or, where the system lets anybody make user "
                        "namespaces, as 'unshare --user --map-root-user shoal lab ...'");
    // Without O_CLOEXEC: children find their machine by this number.
    const int descriptor = open("/proc/thread-self/ns/net", O_RDONLY);
    if (descriptor < 0) throw Error(ErrorKind::system, "cannot open a network namespace: " + reason());
    return descriptor;
}

/// Gives a program its commands, a line each, on standard input.
void run_batch(const std::string& program, const std::string& lines) {
    std::FILE* output = std::tmpfile();
    if (!output) throw Error(ErrorKind::system, "cannot make a temporary file: " + reason());
    // sudo and su may leave out where Debian keeps both programs.
    const std::string command = fmt::format(
        "PATH=$PATH:/usr/sbin:/sbin; exec {} -batch - >/proc/self/fd/{} 2>&1", program, fileno(output));
    std::FILE* pipe = popen(command.c_str(), "w");
    if (pipe) std::fwrite(lines.data(), 1, lines.size(), pipe);
    const int status = pipe ? pclose(pipe) : -1;
    std::string said(2000, '\0');
    std::rewind(output);
    said.resize(std::fread(said.data(), 1, said.size(), output));
    std::fclose(output);
    if (status != 0)
        throw Error(ErrorKind::system, "cannot set up the lines of the experiment; '" + program + "' (" +
                                           "Debian: iproute2) said: " + said);
}

std::string shape(const std::string& device, double rate) {
    return fmt::format("qdisc replace dev {} root tbf rate {:.0f}bit {}\n", device, rate, kShape);
}

void set_up_hub(const std::vector<ShapedLine>& lines, const std::vector<NetworkNamespace>& machines) {
    std::string links = "link add hub type bridge\nlink set hub up\n", rates;
    for (std::size_t i = 0; i < lines.size(); ++i) {
        links += fmt::format("link add p{0} type veth peer name line netns /proc/self/fd/{1}\n", i,
                             machines[i].descriptor());
        links += fmt::format("link set p{} master hub up\n", i);
        rates += shape(fmt::format("p{}", i), lines[i].download);
    }
    run_batch("ip", links);
    run_batch("tc", rates);
}

void set_up_machine(std::size_t machine, const ShapedLine& line) {
    run_batch("ip", fmt::format("address add {}/24 dev line\nlink set line up\nlink set lo up\n",
                                ShapedLines::address(machine)));
    run_batch("tc", shape("line", line.upload));
}

}  // namespace

NetworkNamespace::NetworkNamespace() {
    on_another_thread([this] { descriptor_ = make_namespace(); });
}

NetworkNamespace::~NetworkNamespace() {
    if (descriptor_ >= 0) close(descriptor_);
}

NetworkNamespace::NetworkNamespace(NetworkNamespace&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)) {}

NetworkNamespace& NetworkNamespace::operator=(NetworkNamespace&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
}

void enter_network_namespace(int descriptor) {
    if (setns(descriptor, CLONE_NEWNET) != 0)
        throw Error(ErrorKind::system, "cannot enter the network namespace of an experiment: " + reason());
}

std::string ShapedLines::address(std::size_t machine) {
    return fmt::format("10.77.0.{}", machine + 1);
}

void ShapedLines::set_plugged(std::size_t machine, bool plugged) {
    on_another_thread([&] {
        enter_network_namespace(hub_.descriptor());
        run_batch("ip", fmt::format("link set p{} {}\n", machine, plugged ? "master hub" : "nomaster"));
    });
}

ShapedLines::ShapedLines(const std::vector<ShapedLine>& lines) : machines_(lines.size()) {
    if (lines.size() > kMostMachines)
        throw Error(ErrorKind::invalid_argument, "too many machines for one experiment");
    on_another_thread([&] {
        enter_network_namespace(hub_.descriptor());
        set_up_hub(lines, machines_);
    });
    for (std::size_t i = 0; i < lines.size(); ++i)
        on_another_thread([&] {
            enter_network_namespace(machines_[i].descriptor());
            set_up_machine(i, lines[i]);
        });
}

}  // namespace shoal::lab
