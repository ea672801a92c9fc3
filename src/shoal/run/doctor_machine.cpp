#include <cmath>
#include <fmt/format.h>
#include <fstream>
#include <sys/resource.h>
#include <sys/timex.h>
#include <thread>

#include "shoal/dht/record.h"
#include "shoal/run/doctor.h"

namespace shoal::run {
namespace {

constexpr double kGigabyte = 1e9;

/// A figure in kB from /proc/meminfo, in bytes.
std::uint64_t memory_figure(const std::string& name) {
    std::ifstream in("/proc/meminfo");
    for (std::string line; std::getline(in, line);)
        if (line.starts_with(name + ":"))
            return std::strtoull(line.c_str() + name.size() + 1, nullptr, 10) * 1024;
    return 0;
}

/// Debian's packages install variants side by side; a link says which one programs get.
std::string open_blas_variant() {
    std::error_code error;
    for (const char* link :
         {"/etc/alternatives/libopenblas.so.0-x86_64-linux-gnu",
          "/etc/alternatives/libopenblas.so.0-aarch64-linux-gnu", "/etc/alternatives/libopenblas.so.0"}) {
        const auto target = std::filesystem::read_symlink(link, error);
        if (error) continue;
        const std::string text = target.string();
        for (const char* variant : {"openmp", "pthread", "serial"})
            if (text.find(variant) != std::string::npos) return variant;
        return "";
    }
    return "none";
}

std::filesystem::path existing_ancestor(std::filesystem::path folder) {
    std::error_code error;
    folder = std::filesystem::absolute(folder, error);
    while (!folder.empty() && folder.has_parent_path() && folder != folder.root_path() &&
           !std::filesystem::exists(folder, error))
        folder = folder.parent_path();
    return folder;
}

std::optional<bool> kernel_clock_synchronised() {
    timex state{};
    const int result = ::adjtimex(&state);
    if (result < 0) return std::nullopt;
    return result != TIME_ERROR;
}

Finding judge_open_blas(const std::string& variant) {
    if (variant == "openmp")
        return make_finding(Finding::Level::fine, "OpenBLAS",
                            "the OpenMP variant, which shares libtorch's threads");
    if (variant == "pthread")
        return make_finding(
            Finding::Level::wrong, "OpenBLAS",
            "the pthread variant: its threads fight libtorch's, and training takes about twice as long",
            "apt install libopenblas0-openmp, then update-alternatives --config "
            "libopenblas.so.0-$(uname -m)-linux-gnu");
    if (variant == "none")
        return make_finding(Finding::Level::note, "OpenBLAS",
                            "not installed; only seeds and auxiliary peers do without",
                            "apt install libopenblas0-openmp");
    return make_finding(
        Finding::Level::note, "OpenBLAS",
        variant.empty() ? "another variant than Debian's" : "the " + variant + " variant: one thread",
        "apt install libopenblas0-openmp");
}

Finding judge_open_files(const Machine& machine) {
    const std::string text = fmt::format("{} open files allowed", machine.open_files);
    if (machine.open_files >= 1024) return make_finding(Finding::Level::fine, "open files", text);
    return make_finding(Finding::Level::wrong, "open files", text + ": each connection takes one",
                        fmt::format("ulimit -n 4096 (up to {} without root)", machine.open_files_maximum));
}

}  // namespace

Finding make_finding(Finding::Level level, std::string subject, std::string text, std::string advice) {
    Finding finding;
    finding.level = level;
    finding.subject = std::move(subject);
    finding.text = std::move(text);
    finding.advice = std::move(advice);
    return finding;
}

std::string_view to_string(Finding::Level level) {
    switch (level) {
        case Finding::Level::fine:
            return "fine";
        case Finding::Level::note:
            return "note";
        case Finding::Level::wrong:
            return "wrong";
    }
    return "unknown";
}

Machine look_at_machine(const std::filesystem::path& folder) {
    Machine machine;
    machine.cores = std::thread::hardware_concurrency();
    machine.memory_bytes = memory_figure("MemTotal");
    machine.available_memory_bytes = memory_figure("MemAvailable");
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        machine.open_files = limit.rlim_cur;
        machine.open_files_maximum = limit.rlim_max;
    }
    machine.open_blas = open_blas_variant();
    machine.clock_synchronised = kernel_clock_synchronised();
    std::error_code error;
    const auto space = std::filesystem::space(existing_ancestor(folder), error);
    if (!error) machine.free_disk_bytes = space.available;
    std::ifstream congestion("/proc/sys/net/ipv4/tcp_available_congestion_control");
    for (std::string word; congestion >> word;) machine.bbr = machine.bbr || word == "bbr";
    return machine;
}

std::vector<Finding> judge_machine(const Machine& machine, const RunDefinition& definition) {
    using enum Finding::Level;
    std::vector<Finding> findings;
    const auto threads = static_cast<std::uint64_t>(definition.peer.threads);
    if (threads > machine.cores)
        findings.push_back(make_finding(
            note, "processor", fmt::format("{} cores, but peer.threads = {}", machine.cores, threads),
            "more threads than cores slow each other down"));
    else
        findings.push_back(make_finding(fine, "processor", fmt::format("{} cores", machine.cores)));
    const std::string memory = fmt::format("{:.1f} GB, {:.1f} GB of it available",
                                           static_cast<double>(machine.memory_bytes) / kGigabyte,
                                           static_cast<double>(machine.available_memory_bytes) / kGigabyte);
    if (static_cast<double>(machine.available_memory_bytes) < 0.5 * kGigabyte)
        findings.push_back(
            make_finding(wrong, "memory", memory, "even the smallest model needs half a gigabyte"));
    else
        findings.push_back(make_finding(fine, "memory", memory));
    findings.push_back(judge_open_files(machine));
    findings.push_back(judge_open_blas(machine.open_blas));
    const std::string disk =
        fmt::format("{:.1f} GB free for {}", static_cast<double>(machine.free_disk_bytes) / kGigabyte,
                    definition.peer_folder().string());
    if (static_cast<double>(machine.free_disk_bytes) < 0.2 * kGigabyte)
        findings.push_back(
            make_finding(wrong, "disk", disk, "checkpoints and metrics would fail; give another --folder"));
    else
        findings.push_back(make_finding(fine, "disk", disk));
    if (machine.clock_synchronised == false)
        findings.push_back(
            make_finding(note, "clock", "the kernel does not call it synchronised",
                         "run a time service (apt install systemd-timesyncd); peers whose clocks differ by "
                         "more than 30 s do not find each other"));
    if (!machine.bbr)
        findings.push_back(make_finding(
            note, "TCP", "no BBR congestion control: slow over long paths with loss", "modprobe tcp_bbr"));
    return findings;
}

Finding judge_clock(const std::string& peer, double difference, double uncertainty) {
    const std::string text =
        fmt::format("{} by {:.2f} s against peer {} (± {:.2f} s)", difference > 0 ? "behind" : "ahead",
                    std::abs(difference), peer, uncertainty);
    const double least = std::abs(difference) - uncertainty;
    const double tolerance = std::chrono::duration<double>(dht::kClockTolerance).count();
    if (least > tolerance)
        return make_finding(
            Finding::Level::wrong, "clock", text,
            fmt::format("beyond {:.0f} s the others refuse this peer's records: set the clock of whichever "
                        "machine is wrong",
                        tolerance));
    if (least > tolerance / 10)
        return make_finding(Finding::Level::note, "clock", text,
                            "run a time service (apt install systemd-timesyncd)");
    return make_finding(Finding::Level::fine, "clock", text);
}

bool something_is_wrong(const std::vector<Finding>& findings) {
    for (const Finding& one : findings)
        if (one.level == Finding::Level::wrong) return true;
    return false;
}

}  // namespace shoal::run
