// shoal lab: experiments that reproduce results on this machine.
#include <CLI/CLI.hpp>

#include "shoal/command.h"
#include "shoal/lab/averaging.h"
#include "shoal/lab/averaging_setups.h"
#include "shoal/lab/averaging_worker.h"
#include "shoal/lab/churn.h"
#include "shoal/lab/elasticity.h"
#include "shoal/lab/faults.h"
#include "shoal/lab/swarm.h"
#include "shoal/lab/swav.h"
#include "shoal/lab/volunteers.h"
#include "shoal/result_options.h"
#include "shoal/torch/lab_saddle.h"

namespace shoal::app {

namespace {

using Chosen = std::shared_ptr<std::function<int()>>;

void declare_swarm(CLI::App& lab, const Chosen& chosen) {
    auto options = std::make_shared<lab::SwarmOptions>();
    CLI::App* app =
        lab.add_subcommand("swarm", "Five peers train one ALBERT; one is killed and a fresh one joins");
    describe(
        *app,
        "Starts three full peers, one in client mode and one auxiliary, as processes of this machine with "
        "different speeds. They pre-train a\n"
        "small ALBERT on the text, live in the terminal. Midway full-2 gets kill -9 and full-4 joins. Ends "
        "with a summary, the same as\n"
        "JSON, and the loss curve as a picture; also if it is ended early (Ctrl-C).");
    app->add_option("--text", options->text,
                    "Plain text, one paragraph a line (./run makes one from Debian's debian-handbook)")
        ->required();
    app->add_option("--folder", options->folder, "For everything that the peers write")
        ->capture_default_str();
    CLI::Option* steps = app->add_option("--steps", options->steps, "Global steps");
    steps->description("Global steps (--quick: 40)")->capture_default_str()->check(CLI::Range(20, 1000000));
    CLI::Option* batch = app->add_option("--target-batch-size", options->target_batch_size);
    batch->description("Samples of the swarm for one step, at least (--quick: 64)")
        ->capture_default_str()
        ->check(CLI::Range(8, 1000000));
    app->add_flag("--plain{false}", options->redraw, "Lines instead of a table that redraws itself");
    add_result_options(*app, options->result);
    app->callback([options, chosen, steps, batch] {
        lab::SwarmOptions sized = *options;
        if (sized.result.quick) make_quick(sized);
        if (steps->count() > 0) sized.steps = options->steps;
        if (batch->count() > 0) sized.target_batch_size = options->target_batch_size;
        *chosen = [sized] { return run_swarm(sized); };
    });
}

void declare_faults(CLI::App& lab, const Chosen& chosen) {
    auto options = std::make_shared<lab::FaultsOptions>();
    CLI::App* app = lab.add_subcommand("faults", "Every fault in every phase of a step, against six peers");
    describe(*app,
             "Six peers train a small ConvNet on Fashion-MNIST. A random one is killed (kill -9), frozen "
             "(SIGSTOP) or loses all its connections, in\n"
             "turn while it computes, matches, sends, reduces, votes and shares state. Reports seconds lost "
             "per fault, "
             "how soon a newcomer trains, and whether\n"
             "all peers held the same parameters at every step.");
    app->add_option("--images", options->images,
                    "Folder of IDX files (default: Debian's dataset-fashion-mnist)");
    app->add_option("--folder", options->folder, "For everything that the peers write")
        ->capture_default_str();
    app->add_option("--seed", options->seed, "Chooses the victims")->capture_default_str();
    add_result_options(*app, options->result);
    app->callback([options, chosen] { *chosen = [options] { return run_faults(*options); }; });
}

void declare_churn(CLI::App& lab, const Chosen& chosen) {
    auto options = std::make_shared<lab::ChurnOptions>();
    CLI::App* app =
        lab.add_subcommand("churn", "Dozens of peers, one fault after the other: what is left of the work");
    describe(
        *app,
        "Real peers in network namespaces, whose compute sleeps. Every 29 s one is killed (kill -9, and a "
        "fresh "
        "one takes its place), frozen (SIGSTOP)\n"
        "or unplugged, for 10 s. Compares samples stepped a second with those without faults, and the "
        "parameters of all.\n\n"
        "  sudo shoal lab churn               32 peers, 62 faults in 30 minutes, after 5 minutes without\n"
        "  sudo shoal lab churn --faults 12   as many per minute, in 6 minutes\n\n"
        "Needs root, ip and tc (Debian: iproute2) and nsenter. Nothing outside of its namespaces is "
        "touched.");
    app->add_option("--peers", options->peers, "Peers")->capture_default_str()->check(CLI::Range(3, 64));
    app->add_option("--faults", options->faults, "Faults")
        ->capture_default_str()
        ->check(CLI::Range(1, 10000));
    app->add_option("--every", options->every, "Seconds from one fault to the next")
        ->capture_default_str()
        ->check(CLI::Range(0.5, 3600.0));
    app->add_option("--away", options->away, "Seconds until a victim is back or replaced")
        ->capture_default_str()
        ->check(CLI::Range(0.1, 3600.0));
    app->add_option("--step", options->step_seconds, "Seconds that a batch takes")
        ->capture_default_str()
        ->check(CLI::Range(0.2, 600.0));
    app->add_option("--folder", options->folder, "For everything that the peers write")
        ->capture_default_str();
    app->add_option("--seed", options->seed, "Chooses the victims")->capture_default_str();
    add_result_options(*app, options->result);
    app->callback([options, chosen] {
        if (options->result.quick) make_quick(*options);
        *chosen = [options] { return run_churn(*options); };
    });
}

void declare_elasticity(CLI::App& lab, const Chosen& chosen) {
    auto options = std::make_shared<lab::ElasticityOptions>();
    CLI::App* app =
        lab.add_subcommand("elasticity", "Peers come and go: speed follows who is there, the loss does not");
    describe(
        *app,
        "Four steady and four part-time peers of different speeds, real ones in network namespaces, whose "
        "compute sleeps. The part-time\n"
        "ones come and go by a written schedule, several times, some with a goodbye (SIGINT) and some by "
        "kill -9. In each window of\n"
        "constant membership steps a second are held against the sum of speeds over the samples of a step; "
        "the loss of each step is\n"
        "compared with that of a swarm beside it, of the same eight peers for all of the time. --check: off "
        "by 10 % at most in the\n"
        "mean of the windows and 15 % in each; the mean difference of the loss 2 % of its fall at most, and "
        "6 % in each tenth of the\n"
        "steps (wider with --quick, where steps are short and few).\n\n"
        "  sudo shoal lab elasticity          12 windows of 50 s, in 12 minutes\n"
        "  sudo shoal lab elasticity --quick  6 windows of 6 s\n\n"
        "Needs root, ip and tc (Debian: iproute2) and nsenter. Nothing outside of its namespaces is "
        "touched.");
    CLI::Option* window = app->add_option("--window", options->window);
    window->description("Seconds that a membership lasts (--quick: 6)")
        ->capture_default_str()
        ->check(CLI::Range(1.0, 3600.0));
    CLI::Option* step = app->add_option("--step", options->step_seconds);
    step->description("Seconds that a batch takes when all are there (--quick: 0.5)")
        ->capture_default_str()
        ->check(CLI::Range(0.2, 600.0));
    app->add_option("--folder", options->folder, "For everything that the peers write")
        ->capture_default_str();
    add_result_options(*app, options->result);
    app->callback([options, chosen, window, step] {
        lab::ElasticityOptions sized = *options;
        if (sized.result.quick) make_quick(sized);
        if (window->count() > 0) sized.window = options->window;
        if (step->count() > 0) sized.step_seconds = options->step_seconds;
        *chosen = [sized] { return run_elasticity(sized); };
    });
}

void declare_volunteers(CLI::App& lab, const Chosen& chosen) {
    auto options = std::make_shared<lab::VolunteersOptions>();
    CLI::App* app = lab.add_subcommand(
        "volunteers", "Forty peers that come and go beside one fast machine: time, loss and cost of both");
    describe(
        *app,
        "Ten peers that stay and thirty volunteers who come and go, a quarter of the times by kill -9, of "
        "speeds from 2 to 16 samples/s; at the\n"
        "same time one machine as fast as eight of them does the same steps. Real peers in network "
        "namespaces, whose compute sleeps. Ends\n"
        "with what `shoal report` tells of both from their records.\n\n"
        "  sudo shoal lab volunteers          40 steps in 21 minutes, of which the swarm takes 8\n"
        "  sudo shoal lab volunteers --quick  8 peers, 20 steps\n\n"
        "Needs root, ip and tc (Debian: iproute2) and nsenter. Nothing outside of its namespaces is "
        "touched.");
    app->add_option("--volunteers", options->volunteers, "Peers that come and go")
        ->capture_default_str()
        ->check(CLI::Range(1, 100));
    app->add_option("--organisers", options->organisers, "Peers that stay")
        ->capture_default_str()
        ->check(CLI::Range(1, 100));
    CLI::Option* steps = app->add_option("--steps", options->steps);
    steps->description("Global steps of each run (--quick: 20)")
        ->capture_default_str()
        ->check(CLI::Range(2, 1000000));
    app->add_option("--step", options->step_seconds,
                    "Seconds that a batch takes when half of the volunteers are there")
        ->capture_default_str()
        ->check(CLI::Range(0.2, 3600.0));
    app->add_flag("--clients", options->clients, "Volunteers accept no connection, as behind a router");
    app->add_option("--fast", options->fast, "Speed of the one machine, in mean volunteers")
        ->capture_default_str()
        ->check(CLI::Range(0.5, 1000.0));
    app->add_option("--price", options->prices,
                    "NAME_PATTERN=DOLLARS_PER_HOUR, as for shoal report; the defaults are guesses: "
                    "electricity at home, a rented GPU, a rented one that is fast")
        ->capture_default_str()
        ->allow_extra_args(false);
    app->add_option("--traffic-price", options->traffic_price, "Dollars for 10^9 bytes sent")
        ->capture_default_str()
        ->check(CLI::Range(0.0, 1e6));
    app->add_option("--parameters", options->parameters, "Of the problem that they solve")
        ->capture_default_str()
        ->check(CLI::Range(1, 1000000));
    app->add_option("--folder", options->folder, "For everything that the peers write")
        ->capture_default_str();
    app->add_option("--seed", options->seed, "Chooses who comes when")->capture_default_str();
    add_result_options(*app, options->result);
    app->callback([options, chosen, steps] {
        lab::VolunteersOptions sized = *options;
        if (sized.result.quick) make_quick(sized);
        if (steps->count() > 0) sized.steps = options->steps;
        *chosen = [sized] { return run_volunteers(sized); };
    });
}

void declare_swav(CLI::App& lab, const Chosen& chosen) {
    auto options = std::make_shared<lab::SwavOptions>();
    CLI::App* app = lab.add_subcommand("swav", "What three unequal peers learn from images without labels");
    describe(*app,
             "Pre-trains a tiny ResNet on Fashion-MNIST without labels (SwAV): by three peers that average "
             "delayed and compute "
             "all, 60 % and 30 % of the time, and by\n"
             "one process. Trains a linear classifier on the features of each, and on those of the random "
             "parameters that both began with.");
    app->add_option("--images", options->images,
                    "Folder of IDX files (default: Debian's dataset-fashion-mnist)");
    app->add_option("--folder", options->folder, "For everything that the peers write")
        ->capture_default_str();
    CLI::Option* steps = app->add_option("--steps", options->steps, "Global steps of each run");
    steps->description("Global steps of each run (--quick: 60)")
        ->capture_default_str()
        ->check(CLI::Range(20, 1000000));
    CLI::Option* batch = app->add_option("--target-batch-size", options->target_batch_size);
    batch->description("Samples of the swarm for one step, at least (--quick: 128)")
        ->capture_default_str()
        ->check(CLI::Range(64, 1000000));
    app->add_option("--set", options->settings,
                    "section.key=value for the three peers' run, not for that of the one process");
    app->add_option("--seed", options->seed, "Of the run: first parameters and data order")
        ->capture_default_str()
        ->check(CLI::NonNegativeNumber);
    add_result_options(*app, options->result);
    app->callback([options, chosen, steps, batch] {
        lab::SwavOptions sized = *options;
        if (sized.result.quick) make_quick(sized);
        if (steps->count() > 0) sized.steps = options->steps;
        if (batch->count() > 0) sized.target_batch_size = options->target_batch_size;
        *chosen = [sized] { return run_swav(sized); };
    });
}

void declare_averaging(CLI::App& lab, const Chosen& chosen) {
    auto options = std::make_shared<lab::AveragingOptions>();
    CLI::App* app = lab.add_subcommand(
        "averaging", "Averaging rounds on slow, unequal lines, against theory and simulator");
    describe(
        *app,
        "Sixteen peers with lines of 20, 10 and 5 Mb/s (4, 8 and 4 of them) average gradients of 3.57 MB. "
        "Each is a process in a network\n"
        "namespace of its own, its line shaped in both directions by tc. The rows differ in lines, roles "
        "and in how the work is split.\n"
        "'analytic' is what the split costs on lines that carry 95 % of their rate (headers take the "
        "rest), 'simulated' the same\n"
        "protocol code in virtual time.\n\n"
        "  sudo shoal lab averaging                          all rows, 20 rounds each: half an hour\n"
        "  sudo shoal lab averaging --quick                  half of the peers, a quarter of the bytes\n"
        "  sudo shoal lab averaging --only hetero-balanced   one row\n\n"
        "Needs root, ip and tc (Debian: iproute2). Nothing outside of its namespaces is touched, and they "
        "end with the process,\n"
        "however that ends. Ctrl-C ends it early and shows what was.");
    CLI::Option* rounds = app->add_option("--rounds", options->rounds);
    rounds->description("Rounds of each row (--quick: 2)")
        ->capture_default_str()
        ->check(CLI::Range(1, 10000));
    std::vector<std::string> names;
    for (const lab::AveragingSetup& setup : lab::averaging_setups({})) names.push_back(setup.name);
    app->add_option("--only", options->only, "Only these rows")->check(CLI::IsMember(names));
    add_result_options(*app, options->result);
    app->callback([options, chosen, rounds] {
        lab::AveragingOptions sized = *options;
        if (sized.result.quick) make_quick(sized);
        if (rounds->count() > 0) sized.rounds = options->rounds;
        *chosen = [sized] { return run_averaging(sized); };
    });
}

void declare_averaging_worker(CLI::App& lab, const Chosen& chosen) {
    auto options = std::make_shared<lab::AveragingWorkerOptions>();
    CLI::App* app = lab.add_subcommand("averaging-worker", "One process of the experiment above");
    app->group("");  // not in the help
    app->add_option("--rank", options->rank)->required();
    app->add_option("--namespace", options->network_namespace)->required();
    app->add_option("--task", options->task)->required();
    app->callback([options, chosen] {
        *chosen = [options] {
            run_averaging_worker(*options);
            return 0;
        };
    });
}

}  // namespace

Command lab_command() {
    Command command;
    command.name = "lab";
    command.summary =
        "Experiments: 'swarm' shows the main job, 'faults' hits it where it hurts, 'averaging' times rounds, "
        "'elasticity' "
        "lets peers come and go, 'volunteers' tells what that costs, 'swav' needs no labels, "
        "'bilinear' and 'saddle' compress what solves saddle points";
    command.declare = [](CLI::App& app) -> std::function<int()> {
        app.description(
            "Experiments that reproduce results on this machine, with real processes. Each has --help.");
        app.require_subcommand(1);
        auto chosen = std::make_shared<std::function<int()>>();
        declare_swarm(app, chosen);
        declare_faults(app, chosen);
        declare_churn(app, chosen);
        declare_elasticity(app, chosen);
        declare_volunteers(app, chosen);
        declare_swav(app, chosen);
        declare_averaging(app, chosen);
        declare_averaging_worker(app, chosen);
        declare_saddle_points(app, chosen);
        return [chosen] { return (*chosen)(); };
    };
    return command;
}

}  // namespace shoal::app
