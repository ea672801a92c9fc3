// Models that come as TorchScript, made by examples/own_model/make_model.py and by small scripts here.
#include "shoal/nn/script_model.h"

#include "data/expect_error.h"
#include "data/sample_text.h"
#include "nn/batches.h"
#include "nn/python.h"

#include <cmath>
#include <map>
#include <sstream>

#include "shoal/data/dataset.h"

namespace shoal::nn {
namespace {

using namespace testing_support;
using data::testing_support::read_text;
using data::testing_support::temporary;
using data::testing_support::write_text;

double number_after(const std::string& text, const std::string& word) {
    const std::size_t at = text.find(word);
    if (at == std::string::npos) throw std::runtime_error("no '" + word + "' in: " + text);
    return std::stod(text.substr(at + word.size()));
}

std::string make_model_script() {
    return SHOAL_EXAMPLES "/own_model/make_model.py";
}

ModelSettings script(const std::filesystem::path& file) {
    ModelSettings settings;
    settings.kind = file.string();
    return settings;
}

void train(Model& model, const data::Batch& batch, int steps, float rate) {
    std::vector<float> gradient(model.size());
    for (int step = 0; step < steps; ++step) {
        model.zero_gradients();
        model.forward_backward(batch);
        model.read_mean_gradient(gradient);
        for (std::size_t i = 0; i < gradient.size(); ++i) model.values()[i] -= rate * gradient[i];
    }
}

TEST(ExampleModel, ForImagesHasTheLossThatPythonSaysAndLearns) {
    const auto file = temporary("images.pt");
    const std::string said = python(make_model_script() + " images " + file.string());
    data::Batch batch;
    batch.kind = data::BatchKind::images;
    batch.samples = 8;
    batch.channels = 1;
    batch.height = batch.width = 28;
    for (int i = 0; i < 8 * 28 * 28; ++i) batch.pixels.push_back(static_cast<float>(i % 17) / 8 - 1);
    for (int i = 0; i < 8; ++i) batch.classes.push_back(i % 10);

    const auto model = make_model(script(file));
    EXPECT_EQ(model->size(), static_cast<std::size_t>(number_after(said, ".pt: ")));
    EXPECT_EQ(model->parameters()[0].name, "first.weight");
    const double expected = number_after(said, "example batch: ");
    EXPECT_NEAR(model->evaluate(batch), expected, 1e-5);
    EXPECT_NEAR(model->forward_backward(batch), expected, 1e-5);

    data::DatasetSettings settings;
    settings.kind = "fashion-mnist";
    const auto dataset = data::make_dataset(settings, PeerId());
    const data::Batch clothes = dataset->next(64);
    const double before = model->evaluate(clothes);
    train(*model, clothes, 40, 0.2F);
    EXPECT_LT(model->evaluate(clothes), before - 0.5);
}

TEST(ExampleModel, ForTokensHasTheLossThatPythonSaysAndLearnsFromATokenFile) {
    const auto file = temporary("tokens.pt"), tokens = temporary("gpl.u16");
    const std::string said = python(make_model_script() + " tokens " + file.string() +
                                    " --text /usr/share/common-licenses/GPL-3 --tokens " + tokens.string());
    data::Batch batch;
    batch.kind = data::BatchKind::tokens;
    batch.samples = 8;
    batch.sequence_length = 64;
    for (int i = 0; i < 8 * 64; ++i) batch.tokens.push_back(i * 7 % 101);

    const auto model = make_model(script(file));
    // The tied embedding is one parameter.
    EXPECT_EQ(model->size(), static_cast<std::size_t>(number_after(said, "tokens.pt: ")));
    EXPECT_NEAR(model->evaluate(batch), number_after(said, "example batch: "), 1e-5);

    data::DatasetSettings settings;
    settings.kind = "tokens";
    settings.path = tokens;
    settings.sequence_length = 64;
    settings.vocabulary_size = 256;
    const auto dataset = data::make_dataset(settings, PeerId());
    const data::Batch held_out = dataset->held_out(0, 16);
    const double before = model->evaluate(held_out);
    for (int step = 0; step < 40; ++step) train(*model, dataset->next(8), 1, 0.3F);
    EXPECT_LT(model->evaluate(held_out), before - 1);
}

TEST(ScriptModel, HasTheGradientsThatPythonComputes) {
    const auto folder = temporary("folder");
    std::filesystem::create_directory(folder);
    write_text(folder / "make.py", R"(
import sys, torch
from torch import nn, Tensor
class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(20, 4)
        self.out = nn.Linear(4, 20)
        self.out.weight = self.table.weight
        self.frozen = nn.Parameter(torch.ones(4), requires_grad=False)
    def forward(self, tokens: Tensor) -> Tensor:
        return nn.functional.cross_entropy(self.out(self.table(tokens) * self.frozen).view(-1, 20), tokens.view(-1))
torch.manual_seed(0)
model = Tied()
torch.jit.script(model).save(sys.argv[1])
model(torch.arange(12).view(3, 4)).backward()
for name, parameter in model.named_parameters():
    if parameter.grad is not None:
        print(name, parameter.numel(), *parameter.grad.flatten().tolist())
)");
    std::istringstream lines(python((folder / "make.py").string() + " " + (folder / "tied.pt").string()));
    const auto model = make_model(script(folder / "tied.pt"));
    data::Batch batch;
    batch.kind = data::BatchKind::tokens;
    batch.samples = 3;
    batch.sequence_length = 4;
    for (int i = 0; i < 12; ++i) batch.tokens.push_back(i);
    model->forward_backward(batch);
    std::vector<float> gradient(model->size());
    model->read_mean_gradient(gradient);
    ASSERT_EQ(model->parameters().size(), 2U);
    for (const Parameter& parameter : model->parameters()) {
        std::string name;
        std::size_t count = 0;
        lines >> name >> count;
        EXPECT_EQ(parameter.name, name);
        ASSERT_EQ(parameter.size, count);
        for (std::size_t i = 0; i < count; ++i) {
            double expected = 0;
            lines >> expected;
            EXPECT_NEAR(gradient[parameter.offset + i], expected, 1e-6) << name << " " << i;
        }
    }
}

/// Python that makes one bad file for each way in which a model may not fit.
const char* const kBadModels = R"(
import sys, torch
from torch import nn, Tensor
folder = sys.argv[1] + "/"
def save(name, model):
    torch.jit.script(model).save(folder + name + ".pt")
class Base(nn.Module):
    def __init__(self, dtype: torch.dtype = torch.float32):
        super().__init__()
        self.linear = nn.Linear(4, 1, dtype=dtype)
class NoArguments(Base):
    def forward(self) -> Tensor: return self.linear.weight.sum()
class Three(Base):
    def forward(self, a: Tensor, b: Tensor, c: Tensor) -> Tensor: return self.linear.weight.sum()
class NotScalar(Base):
    def forward(self, tokens: Tensor) -> Tensor: return self.linear(tokens.float()).view(-1)
class NotTensor(Base):
    def forward(self, tokens: Tensor) -> int: return 3
class Detached(Base):
    def forward(self, tokens: Tensor) -> Tensor: return self.linear(tokens.float()).mean().detach()
class Fails(Base):
    def forward(self, tokens: Tensor) -> Tensor: return self.linear(tokens.float()[:, :3]).mean()
class Fine(Base):
    def forward(self, tokens: Tensor) -> Tensor: return self.linear(tokens.float()).mean()
class Empty(nn.Module):
    def forward(self, tokens: Tensor) -> Tensor: return tokens.float().mean()
class Norm(Base):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
    def forward(self, tokens: Tensor) -> Tensor: return self.linear(self.norm(tokens.float())).mean()
class Counts(Base):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))
    def forward(self, tokens: Tensor) -> Tensor:
        self.calls += 1
        return self.linear(tokens.float()).mean()
save("no_arguments", NoArguments()); save("three", Three()); save("not_scalar", NotScalar()); save("not_tensor", NotTensor())
save("detached", Detached()); save("fails", Fails()); save("empty", Empty()); save("norm", Norm()); save("counts", Counts())
save("half", Fine(torch.float16)); save("double", Fine(torch.float64)); save("fine", Fine())
torch.save(Fine().state_dict(), folder + "state.pt")
)";

TEST(ScriptModel, ThatDoesNotFitIsRefusedWithOneClearMessage) {
    const auto folder = temporary("bad");
    std::filesystem::create_directory(folder);
    write_text(folder / "make.py", kBadModels);
    python((folder / "make.py").string() + " " + folder.string());
    write_text(folder / "text.pt", "this is no model");
    const std::string fine = read_text(folder / "fine.pt");
    write_text(folder / "cut.pt", fine.substr(0, fine.size() / 2));

    const std::map<std::string, std::string> at_load = {
        {"missing", "does not exist"},    {"text", "no TorchScript file"}, {"cut", "no TorchScript file"},
        {"state", "no TorchScript file"}, {"no_arguments", "0 arguments"}, {"three", "3 arguments"},
        {"empty", "no trainable"},        {"norm", "running_mean"},        {"half", "type Half"},
        {"double", "type Double"}};
    for (const auto& [name, words] : at_load) {
        expect_error([&] { make_model(script(folder / (name + ".pt"))); }, ErrorKind::bad_input, name + ".pt",
                     words);
    }

    data::Batch batch;
    batch.kind = data::BatchKind::tokens;
    batch.samples = 2;
    batch.sequence_length = 4;
    batch.tokens = {1, 2, 3, 4, 5, 6, 7, 8};
    const std::map<std::string, std::string> at_use = {{"not_scalar", "2 elements"},
                                                       {"not_tensor", "returns Int"},
                                                       {"detached", "does not depend on its parameters"},
                                                       {"fails", "fails in forward"},
                                                       {"counts", "buffer calls"}};
    for (const auto& [name, words] : at_use) {
        const auto model = make_model(script(folder / (name + ".pt")));
        expect_error([&] { model->forward_backward(batch); }, ErrorKind::bad_input, name + ".pt", words);
        EXPECT_EQ(model->accumulated_samples(), 0);
    }
    const auto model = make_model(script(folder / "fine.pt"));
    expect_error([&] { model->forward_backward(images(2)); }, ErrorKind::invalid_argument, "(tokens)",
                 "images");
    EXPECT_TRUE(std::isfinite(model->forward_backward(batch)));
}

}  // namespace
}  // namespace shoal::nn
