#include "shoal/torch/lab_saddle.h"

#include <CLI/CLI.hpp>

#include "shoal/command.h"
#include "shoal/lab/bilinear.h"
#include "shoal/lab/saddle.h"
#include "shoal/lab/saddle_problems.h"
#include "shoal/lab/saddle_worker.h"
#include "shoal/result_options.h"

namespace shoal::app {
namespace {

using Chosen = std::shared_ptr<std::function<int()>>;

void declare_bilinear(CLI::App& lab, const Chosen& chosen) {
    auto options = std::make_shared<lab::BilinearOptions>();
    CLI::App* app = lab.add_subcommand(
        "bilinear", "A saddle point on ten devices: which methods survive compressed messages");
    describe(
        *app,
        "min over x, max over y of the mean of x'A y + a'x + b'y over ten devices with different A, a and b, "
        "200 unknowns in all: the\n"
        "experiment of the MASHA paper. Steps along the field turn around the solution, so extragradient is "
        "the plain method. Devices\n"
        "send 30 % or 10 % of their numbers. Methods that compress the operator itself stay where they are "
        "or run away, since each\n"
        "device pulls somewhere else at the solution; MASHA compresses differences to a reference point, "
        "and arrives.\n\n"
        "  shoal lab bilinear --check                 all methods in this process, about a minute\n"
        "  shoal lab bilinear --plot bilinear.png     error against iterations and against bytes\n"
        "  shoal lab bilinear --processes --check     and the main ones as ten processes, bit for bit the "
        "same\n\n"
        "'values up' and 'bytes up' are what one device sends until the error (squared distance to the "
        "solution over that of the\n"
        "start) is reached, 'down' what it receives; full exchanges at refreshes, indices and seeds "
        "included.");
    app->add_option("--seed", options->seed, "Of the problem")->capture_default_str();
    app->add_flag("--processes", options->processes,
                  "Also run the main rows as processes that exchange messages over loopback");
    add_result_options(*app, options->result);
    app->callback([options, chosen] { *chosen = [options] { return run_bilinear(*options); }; });
}

void declare_saddle(CLI::App& lab, const Chosen& chosen) {
    auto options = std::make_shared<lab::SaddleOptions>();
    CLI::App* app = lab.add_subcommand("saddle", "More saddle points: a game, a regression, two strategies");
    describe(
        *app,
        "  shoal lab saddle game          a strongly monotone quadratic game, 100 unknowns, ten components "
        "on "
        "each of ten devices\n"
        "  shoal lab saddle regression    linear regression against an adversary that shifts all features; "
        "pullovers and coats of\n"
        "                                 Fashion-MNIST (Debian: dataset-fashion-mnist), devices know one "
        "class each\n"
        "  shoal lab saddle burglar       a burglar picks one of 50 houses, a policeman waits near one: "
        "mixed "
        "strategies,\n"
        "                                 projections on two simplices, judged by the duality gap of "
        "averages\n"
        "  shoal lab saddle FILE.pt       your own, written in Python: see examples/own_saddle\n"
        "\n"
        "Each method runs with some step sizes, from that of theory on, and shows the best. `shoal lab "
        "bilinear --help` explains the\n"
        "columns. --data takes a file in LIBSVM's format ('TARGET INDEX:VALUE ...', as a9a) in place of the "
        "images.");
    const CLI::Validator script(
        [](const std::string& text) {
            return lab::is_script(text) ? std::string() : "is no file that ends in .pt";
        },
        "FILE.pt");
    app->add_option("problem", options->problem,
                    "game, regression, burglar, or a TorchScript file of your own")
        ->required()
        ->check(CLI::IsMember({"game", "regression", "burglar"}) | script);
    app->add_option("--data", options->data, "Of the regression: a LIBSVM file, or a folder of IDX files")
        ->check(CLI::ExistingPath);
    app->add_option("--seed", options->seed, "Of the problem")->capture_default_str();
    app->add_flag("--processes", options->processes,
                  "Also run the rows as processes that exchange messages over loopback");
    add_result_options(*app, options->result);
    app->callback([options, chosen] { *chosen = [options] { return run_saddle(*options); }; });
}

void declare_saddle_worker(CLI::App& lab, const Chosen& chosen) {
    auto options = std::make_shared<lab::SaddleWorkerOptions>();
    CLI::App* app = lab.add_subcommand("saddle-worker", "One process of the experiments above");
    app->group("");  // not in the help
    app->add_option("--rank", options->rank)->required();
    app->add_option("--folder", options->folder)->required();
    app->callback([options, chosen] {
        *chosen = [options] {
            run_saddle_worker(*options);
            return 0;
        };
    });
}

}  // namespace

void declare_saddle_points(CLI::App& lab, const Chosen& chosen) {
    declare_bilinear(lab, chosen);
    declare_saddle(lab, chosen);
    declare_saddle_worker(lab, chosen);
}

}  // namespace shoal::app
