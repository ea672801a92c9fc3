#include "shoal/lab/child_process.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <system_error>
#include <unistd.h>
#include <utility>

#include "shoal/base/error.h"

namespace shoal::lab {

namespace {

ExitStatus decode(int raw) {
    if (WIFSIGNALED(raw)) return {true, WTERMSIG(raw)};
    return {false, WEXITSTATUS(raw)};
}

/// What the child does between fork and exec: only async-signal-safe calls.
[[noreturn]] void become(char* const* arguments, int output, int niceness, pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(127);  // the parent died before the line above
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    const int null = open("/dev/null", O_RDONLY);
    if (null >= 0) dup2(null, STDIN_FILENO);
    if (niceness > 0) [[maybe_unused]]
        const int ignored = nice(niceness);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    execv(arguments[0], arguments);
    _exit(127);
}

/// Blocks until one of these processes has ended, the deadline has passed, or a signal comes.
void until_one_ends(const std::vector<pid_t>& processes, std::chrono::steady_clock::time_point deadline) {
    std::vector<pollfd> watched;  // a process's descriptor becomes readable when it ends
    for (const pid_t process : processes) {
        const auto descriptor = static_cast<int>(syscall(SYS_pidfd_open, process, 0));
        watched.push_back({.fd = descriptor, .events = POLLIN, .revents = 0});
    }
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    ::poll(watched.data(), watched.size(),
           static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 60'000)));
    for (const pollfd& one : watched) close(one.fd);
}

}  // namespace

std::string ExitStatus::to_string() const {
    return signalled ? "killed by signal " + std::to_string(code) : "exit code " + std::to_string(code);
}

ChildProcess::ChildProcess(const std::vector<std::string>& arguments, const std::filesystem::path& output,
                           int niceness) {
    if (arguments.empty() || access(arguments[0].c_str(), X_OK) != 0)
        throw Error(ErrorKind::system,
                    "cannot start '" + (arguments.empty() ? "" : arguments[0]) + "': no such program");
    const int file = open(output.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (file < 0)
        throw Error(ErrorKind::system, "cannot write " + output.string() + ": " + std::strerror(errno));
    std::vector<char*> raw;
    for (const auto& argument : arguments) raw.push_back(const_cast<char*>(argument.c_str()));
    raw.push_back(nullptr);
    const pid_t parent = getpid();
    pid_ = fork();
    if (pid_ == 0) become(raw.data(), file, niceness, parent);
    close(file);
    if (pid_ < 0)
        throw Error(ErrorKind::system, "cannot start a process: " + std::string(std::strerror(errno)));
}

ChildProcess::~ChildProcess() {
    if (pid_ < 0 || status_) return;
    kill(pid_, SIGKILL);
    wait();
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), status_(std::move(other.status_)) {}

ChildProcess& ChildProcess::operator=(ChildProcess&& other) noexcept {
    std::swap(pid_, other.pid_);
    std::swap(status_, other.status_);
    return *this;
}

void ChildProcess::signal(int number) {
    if (!poll()) kill(pid_, number);
}

std::optional<ExitStatus> ChildProcess::poll() {
    int raw = 0;
    if (!status_ && waitpid(pid_, &raw, WNOHANG) == pid_) status_ = decode(raw);
    return status_;
}

ExitStatus ChildProcess::wait() {
    int raw = 0;
    while (!status_) {
        const pid_t ended = waitpid(pid_, &raw, 0);
        if (ended == pid_) status_ = decode(raw);
        if (ended < 0 && errno != EINTR) status_ = ExitStatus{false, 127};
    }
    return *status_;
}

bool ChildProcess::wait_until(std::chrono::steady_clock::time_point deadline) {
    while (!poll() && std::chrono::steady_clock::now() < deadline) until_one_ends({pid_}, deadline);
    return status_.has_value();
}

std::optional<GroupFailure> wait_for_all(std::vector<ChildProcess>& children,
                                         std::chrono::milliseconds limit) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    std::optional<GroupFailure> failure;
    while (!failure) {
        std::optional<std::size_t> first;
        std::vector<pid_t> running;
        for (std::size_t i = 0; i < children.size() && !failure; ++i) {
            const std::optional<ExitStatus> status = children[i].poll();
            if (!status) running.push_back(children[i].pid());
            if (!status && !first) first = i;
            if (status && (status->signalled || status->code != 0)) failure = GroupFailure{i, status};
        }
        if (failure) break;
        if (!first) return std::nullopt;
        if (std::chrono::steady_clock::now() >= deadline)
            failure = GroupFailure{*first, std::nullopt};
        else
            until_one_ends(running, deadline);
    }
    for (ChildProcess& child : children) child.signal(SIGKILL);
    for (ChildProcess& child : children) child.wait();
    return failure;
}

std::filesystem::path own_program() {
    return std::filesystem::read_symlink("/proc/self/exe");
}

std::vector<std::string> LineTail::new_lines() {
    std::error_code error;
    const auto size = static_cast<std::streamoff>(std::filesystem::file_size(file_, error));
    if (!error && size < offset_) {  // it was begun anew (run/metrics.h)
        offset_ = 0;
        partial_.clear();
    }
    std::ifstream input(file_, std::ios::binary);
    if (!input || !input.seekg(offset_)) return {};
    std::vector<std::string> lines;
    std::string line;
    while (std::getline(input, line)) {
        offset_ += static_cast<std::streamoff>(line.size());
        partial_ += line;
        if (input.eof()) break;  // not yet ended by a newline
        ++offset_;
        lines.push_back(std::exchange(partial_, {}));
    }
    return lines;
}

}  // namespace shoal::lab
