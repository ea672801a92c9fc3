// shoal bench: measurements, beside what others do where there is something to compare with.
#include <CLI/CLI.hpp>

#include "shoal/command.h"
#include "shoal/compress/codec.h"
#include "shoal/lab/all_reduce_worker.h"
#include "shoal/lab/bare_exchange.h"
#include "shoal/lab/bench_all_reduce.h"
#include "shoal/lab/bench_codec.h"
#include "shoal/lab/bench_dht.h"
#include "shoal/result_options.h"

namespace shoal::app {

namespace {

using Chosen = std::shared_ptr<std::function<int()>>;

CLI::IsMember known_codec() {
    std::vector<std::string> names;
    for (const auto name : compress::codec_names()) names.emplace_back(name);
    return CLI::IsMember(names);
}

void declare_all_reduce(CLI::App& bench, const Chosen& chosen) {
    auto options = std::make_shared<lab::BenchAllReduceOptions>();
    CLI::App* app =
        bench.add_subcommand("allreduce", "Whole averaging rounds among processes, beside gloo and Open MPI");
    describe(
        *app,
        "Processes on loopback average a vector: matching, all-reduce and vote, with TLS and without. gloo's "
        "ring, Open MPI's all-reduce of the same fp32\n"
        "vector, and the same bytes over bare TCP run in turns with ours. The ratios are medians over "
        "turns.\n"
        "Several numbers of peers, sizes and codecs, separated by commas, make a table.");
    app->add_option("--peers", options->peers, "Processes")
        ->delimiter(',')
        ->capture_default_str()
        ->check(CLI::Range(2, 64));
    app->add_option("--size", options->bytes, "Size of the fp32 vector, e.g. 64MiB")
        ->delimiter(',')
        ->capture_default_str()
        ->transform(CLI::AsSizeValue(false));
    app->add_option("--codec", options->codecs, "Codec of our rounds")
        ->delimiter(',')
        ->capture_default_str()
        ->check(known_codec());
    app->add_option("--rate", options->megabits,
                    "Mbit/s of each process's line; compares codecs, as root (network namespaces)")
        ->check(CLI::Range(0.1, 1e6));
    auto sweep = std::make_shared<bool>(false);
    app->add_flag("--sweep", *sweep, "2, 4 and 8 peers and 1 KiB to 256 MiB, three turns of each");
    app->add_option("--turns", options->turns, "Turns of every contestant")
        ->capture_default_str()
        ->check(CLI::Range(1, 1000));
    app->add_option("--rounds", options->rounds, "Rounds of a contestant in a turn; the first warms up")
        ->capture_default_str()
        ->check(CLI::Range(2, 1000));
    add_result_options(*app, options->result);
    app->callback([options, sweep, chosen] {
        if (*sweep) lab::make_sweep(*options);
        *chosen = [options] { return bench_all_reduce(*options); };
    });
}

void declare_round(CLI::App& bench, const Chosen& chosen) {
    auto options = std::make_shared<lab::BenchRoundOptions>();
    CLI::App* app = bench.add_subcommand("round", "What a round costs beyond moving its bytes");
    describe(
        *app,
        "Time from 'everybody ready' to 'everybody has the agreed average', minus the time in which bare "
        "streams move the same bytes.");
    app->add_option("--peers", options->peers, "Processes")->capture_default_str()->check(CLI::Range(2, 64));
    app->add_option("--size", options->bytes, "Size of the fp32 vector, e.g. 64KiB")
        ->capture_default_str()
        ->transform(CLI::AsSizeValue(false));
    app->add_option("--rounds", options->rounds, "Rounds")
        ->capture_default_str()
        ->check(CLI::Range(5, 100000));
    add_result_options(*app, options->result);
    app->callback([options, chosen] { *chosen = [options] { return bench_round(*options); }; });
}

void declare_dht(CLI::App& bench, const Chosen& chosen) {
    auto options = std::make_shared<lab::BenchDhtOptions>();
    CLI::App* app =
        bench.add_subcommand("dht", "Publish, read and push in the directory, also with nodes killed");
    describe(
        *app,
        "Real directory nodes with UDP sockets on loopback, in one process: latency and success of publish, "
        "read and watch, with all nodes alive,\n"
        "with some of them killed, and with some gone without a trace (their machine, not only the "
        "process).");
    app->add_option("--nodes", options->nodes, "Nodes")->capture_default_str()->check(CLI::Range(3, 1024));
    app->add_option("--operations", options->operations, "Of each kind")
        ->capture_default_str()
        ->check(CLI::Range(4, 100000));
    app->add_option("--killed", options->killed, "Share of the nodes that is lost")
        ->capture_default_str()
        ->check(CLI::Range(0.0, 0.9));
    add_result_options(*app, options->result);
    app->callback([options, chosen] { *chosen = [options] { return bench_dht(*options); }; });
}

void declare_codec(CLI::App& bench, const Chosen& chosen) {
    auto options = std::make_shared<lab::BenchCodecOptions>();
    CLI::App* app = bench.add_subcommand("codec", "Encode, decode and add of every codec, beside memcpy");
    describe(*app,
             "Every codec on one core, in CPU time: bytes of floats a second, and the share of the rate of a "
             "memcpy "
             "that ran just before.\n"
             "libtorch's own operations run in the same turns where it has some for the same job. Of codecs "
             "with parameters, one of each kind.");
    app->add_option("--size", options->bytes, "Size of the fp32 vector, e.g. 64MiB")
        ->capture_default_str()
        ->transform(CLI::AsSizeValue(false));
    app->add_option("--turns", options->turns, "Turns of every operation")
        ->capture_default_str()
        ->check(CLI::Range(1, 1000));
    add_result_options(*app, options->result);
    app->callback([options, chosen] { *chosen = [options] { return bench_codec(*options); }; });
}

void declare_worker(CLI::App& bench, const Chosen& chosen) {
    auto options = std::make_shared<lab::AllReduceWorkerOptions>();
    CLI::App* app = bench.add_subcommand("allreduce-worker", "One process of the two above");
    app->group("");  // not in the help
    app->add_option("--rank", options->rank)->required();
    app->add_option("--size", options->size)->required();
    app->add_option("--folder", options->folder)->required();
    app->add_option("--elements", options->elements)->required();
    app->add_option("--rounds", options->rounds)->required();
    app->add_option("--codec", options->codec)->required();
    app->add_flag("--no-encryption{false}", options->encrypted);
    app->add_flag("--pure-transfer", options->pure_transfer);
    auto bare = std::make_shared<bool>(false);
    app->add_flag("--bare-tcp", *bare);
    app->callback([options, bare, chosen] {
        *chosen = [options, bare] {
            if (*bare)
                lab::run_bare_exchange({options->rank, options->size, options->folder,
                                        compress::make_codec(options->codec)->encoded_size(options->elements),
                                        options->rounds});
            else
                run_all_reduce_worker(*options);
            return 0;
        };
    });
}

}  // namespace

Command bench_command() {
    Command command;
    command.name = "bench";
    command.summary = "Measurements: allreduce, round, codec, dht";
    command.declare = [](CLI::App& app) -> std::function<int()> {
        app.description(
            "Measurements on this machine. Each has --help, writes JSON with --json, and holds itself "
            "against its bounds with --check.");
        app.require_subcommand(1);
        auto chosen = std::make_shared<std::function<int()>>();
        declare_all_reduce(app, chosen);
        declare_round(app, chosen);
        declare_codec(app, chosen);
        declare_dht(app, chosen);
        declare_worker(app, chosen);
        return [chosen] { return (*chosen)(); };
    };
    return command;
}

}  // namespace shoal::app
