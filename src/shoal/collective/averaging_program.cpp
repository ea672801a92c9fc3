#include "shoal/collective/averaging_program.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "shoal/base/error.h"
#include "shoal/collective/linear_program.h"

namespace shoal::collective {
namespace {

constexpr double kNone = std::numeric_limits<double>::infinity();
/// Rates are scaled so that the best one is near 1. A limit that is larger by this cannot bind.
constexpr double kBeyondLimits = 1e7;
/// A rate that is larger than the largest limit by this is limited by nothing.
constexpr double kUnlimited = 1e6;
constexpr int kMaximumRescalings = 60;

[[noreturn]] void refuse(const char* what) {
    throw Error(ErrorKind::invalid_argument, what);
}

void check(const AveragingProgram& program) {
    const std::vector<SplitMember>& members = program.members;
    if (members.size() > kMaximumProgramMembers) refuse("too many members for the averaging program");
    if (!program.pair_limits.empty() && program.pair_limits.size() != members.size() * members.size())
        refuse("the averaging program needs a limit for each pair of members");
    const auto plausible = [](double limit) { return limit >= 0; };
    for (const SplitMember& member : members)
        if (!plausible(member.upload) || !plausible(member.download))
            refuse("a bandwidth must be a number of at least 0");
    if (!std::all_of(program.pair_limits.begin(), program.pair_limits.end(), plausible))
        refuse("a bandwidth must be a number of at least 0");
    const auto somebody = [&members](bool SplitMember::* flag) {
        return std::any_of(members.begin(), members.end(), [flag](const auto& m) { return m.*flag; });
    };
    if (!somebody(&SplitMember::sends)) refuse("nobody in the group sends");
    if (!somebody(&SplitMember::receives)) refuse("nobody in the group receives");
    if (!somebody(&SplitMember::reduces)) refuse("nobody in the group can reduce");
}

/// What the program with relaxed roles adds: samples as rates of the vector.
struct Relaxation {
    std::vector<double> worth;  ///< by member: vector lengths per second that its samples pay for; 0: none
};

struct Solution {
    double rate = 0;
    std::vector<double> reduced, taken, computes;
};

/// One linear program, with all limits divided by `scale`.
class Formulation {
  public:
    Formulation(const AveragingProgram& program, const Relaxation* relaxation, double scale)
        : program_(program),
          members_(program.members),
          relaxation_(relaxation),
          scale_(scale),
          size_(members_.size()),
          reduced_(size_, -1),
          taken_(size_ * size_, -1),
          sent_(size_ * size_, -1),
          computes_(size_, -1) {
        rate_ = linear_.add_column(kUnlimited, 1);
        add_columns();
        demand_results();
        if (relaxation_ != nullptr) relax_roles();
        limit_members();
        limit_pairs();
    }

    Solution solve() const {
        const auto columns = linear_.maximise();
        if (!columns)
            refuse("the solver finds no solution of the averaging program; do its limits differ too much?");
        const auto at = [&columns](int column) {
            return column < 0 ? 0.0 : std::max(0.0, (*columns)[static_cast<std::size_t>(column)]);
        };
        Solution solution;
        solution.rate = at(rate_);
        for (const int column : reduced_) solution.reduced.push_back(at(column));
        for (const int column : taken_) solution.taken.push_back(at(column));
        for (const int column : computes_) solution.computes.push_back(at(column));
        return solution;
    }

  private:
    using Terms = std::vector<LinearProgram::Term>;
    static void add(Terms& terms, int column, double factor = 1) {
        if (column < 0) return;
        for (LinearProgram::Term& term : terms)
            if (term.column == column) {
                term.factor += factor;
                return;
            }
        terms.push_back({column, factor});
    }

    /// Everything that binds: scaled, or infinite.
    double limit(double of) const { return of / scale_ > kBeyondLimits ? kNone : of / scale_; }
    bool relaxed(std::size_t member) const { return computes_[member] >= 0; }
    int taken(std::size_t reducer, std::size_t receiver) const { return taken_[reducer * size_ + receiver]; }
    /// What a sender sends to a reducer: as much as is reduced, unless its role is open.
    int sent(std::size_t sender, std::size_t reducer) const {
        if (relaxed(sender)) return sent_[sender * size_ + reducer];
        return members_[sender].sends ? reduced_[reducer] : -1;
    }

    void add_columns() {
        for (std::size_t i = 0; i < size_; ++i) {
            if (!members_[i].reduces) continue;
            reduced_[i] = linear_.add_column(kUnlimited, 0);
            for (std::size_t j = 0; j < size_; ++j) {
                if (!members_[j].receives) continue;
                const bool alike = program_.sharing == Sharing::alike;
                taken_[i * size_ + j] = alike ? reduced_[i] : linear_.add_column(kUnlimited, 0);
            }
        }
    }

    void demand_results() {
        for (std::size_t j = 0; j < size_; ++j) {
            if (!members_[j].receives) continue;
            Terms terms = {{rate_, -1}};
            for (std::size_t i = 0; i < size_; ++i) {
                if (taken(i, j) < 0) continue;
                add(terms, taken(i, j));
                if (program_.sharing == Sharing::alike) continue;
                const LinearProgram::Term no_faster[] = {{taken(i, j), 1}, {reduced_[i], -1}};
                linear_.add_row(-kNone, no_faster, 0);
            }
            linear_.add_row(0, terms, kNone);
        }
    }

    /// c_k between 0 and 1, and reduced <= sent + (1 - c_k) * what can be reduced at all.
    void relax_roles() {
        double most = 0;
        for (const double worth : relaxation_->worth) most += worth / scale_;
        Terms paid = {{rate_, -1}};
        for (std::size_t k = 0; k < size_; ++k) {
            if (relaxation_->worth[k] == 0) continue;
            computes_[k] = linear_.add_column(1, 0);
            add(paid, computes_[k], relaxation_->worth[k] / scale_);
            for (std::size_t i = 0; i < size_; ++i) {
                if (reduced_[i] < 0 || i == k) continue;
                sent_[k * size_ + i] = linear_.add_column(kUnlimited, 0);
                const LinearProgram::Term terms[] = {
                    {reduced_[i], 1}, {sent_[k * size_ + i], -1}, {computes_[k], most}};
                linear_.add_row(-kNone, terms, most);
            }
        }
        linear_.add_row(0, paid, kNone);
        // No reducer need reduce more than the whole vector; without this `most` would not hold.
        for (const int column : reduced_)
            if (column >= 0) {
                const LinearProgram::Term term[] = {{column, 1}};
                linear_.add_row(-kNone, term, most);
            }
    }

    void limit_members() {
        for (std::size_t i = 0; i < size_; ++i) {
            Terms up, down;
            for (std::size_t j = 0; j < size_; ++j) {
                if (j == i) continue;
                add(up, sent(i, j));
                add(up, taken(i, j));
                add(down, sent(j, i));
                add(down, taken(j, i));
            }
            demand(up, members_[i].upload);
            demand(down, members_[i].download);
        }
    }

    void limit_pairs() {
        if (program_.pair_limits.empty()) return;
        for (std::size_t i = 0; i < size_; ++i)
            for (std::size_t j = 0; j < size_; ++j) {
                if (i == j) continue;
                Terms terms;
                add(terms, sent(i, j));
                add(terms, taken(i, j));
                demand(terms, program_.pair_limits[i * size_ + j]);
            }
    }

    void demand(const Terms& terms, double most) {
        if (!terms.empty() && limit(most) < kNone) linear_.add_row(-kNone, terms, limit(most));
    }

    const AveragingProgram& program_;
    const std::vector<SplitMember>& members_;
    const Relaxation* const relaxation_;
    const double scale_;
    const std::size_t size_;
    LinearProgram linear_;
    int rate_ = 0;
    std::vector<int> reduced_, taken_, sent_, computes_;  // columns; -1: none
};

double largest_limit(const AveragingProgram& program, const Relaxation* relaxation) {
    double largest = 0;
    const auto see = [&largest](double limit) {
        if (std::isfinite(limit)) largest = std::max(largest, limit);
    };
    for (const SplitMember& member : program.members) {
        see(member.upload);
        see(member.download);
    }
    for (const double limit : program.pair_limits) see(limit);
    if (relaxation != nullptr)
        for (const double worth : relaxation->worth) see(worth);
    return largest > 0 ? largest : 1;
}

/// Solves with the scale that the result asks for: limits may differ by more than a solver's precision.
Solution solve_scaled(const AveragingProgram& program, const Relaxation* relaxation) {
    double scale = largest_limit(program, relaxation);
    for (int i = 0;; ++i) {
        Solution solution = Formulation(program, relaxation, scale).solve();
        const bool precise = solution.rate > 0.01;
        if (precise || i == kMaximumRescalings) {
            solution.rate = solution.rate >= kUnlimited * 0.99 ? kNone : solution.rate * scale;
            if (!precise) solution.rate = 0;
            return solution;
        }
        scale *= std::max(solution.rate, 1e-5);
    }
}

AveragingRates to_fractions(const AveragingProgram& program, const Solution& solution) {
    const std::size_t size = program.members.size();
    AveragingRates rates;
    rates.members = size;
    rates.rate = solution.rate;
    rates.reduced.assign(size, 0);
    rates.taken.assign(size * size, 0);
    if (rates.rate == 0) return rates;
    for (std::size_t j = 0; j < size; ++j) {
        double sum = 0;
        for (std::size_t i = 0; i < size; ++i) sum += solution.taken[i * size + j];
        if (sum == 0) continue;
        for (std::size_t i = 0; i < size; ++i) {
            const double fraction = solution.taken[i * size + j] / sum;
            rates.taken[i * size + j] = fraction;
            rates.reduced[i] = std::max(rates.reduced[i], fraction);
        }
    }
    return rates;
}

}  // namespace

AveragingRates solve(const AveragingProgram& program) {
    check(program);
    return to_fractions(program, solve_scaled(program, nullptr));
}

ProgramRoleChoice choose_roles(std::span<const Worker> workers, std::vector<double> pair_limits,
                               Sharing sharing, const RoleProblem& problem) {
    check_role_problem(workers, problem);
    AveragingProgram program;
    for (const Worker& worker : workers) program.members.push_back(worker.member);
    program.members = with_known_limits(program.members);
    program.pair_limits = std::move(pair_limits);
    program.sharing = sharing;
    check(program);
    Relaxation relaxation;
    const double paid = problem.vector_length / problem.target_batch;
    for (std::size_t i = 0; i < workers.size(); ++i) {
        const bool candidate = program.members[i].sends && workers[i].speed > 0;
        relaxation.worth.push_back(candidate ? workers[i].speed * paid : 0);
        program.members[i].sends = false;
    }
    const Solution relaxed = solve_scaled(program, &relaxation);
    ProgramRoleChoice best;
    best.bound = relaxed.rate / problem.vector_length;
    std::vector<double> thresholds = relaxed.computes;
    std::sort(thresholds.begin(), thresholds.end());
    thresholds.erase(std::unique(thresholds.begin(), thresholds.end()), thresholds.end());
    for (const double threshold : thresholds) {
        double speed = 0;
        for (std::size_t i = 0; i < workers.size(); ++i) {
            program.members[i].sends = relaxation.worth[i] > 0 && relaxed.computes[i] >= threshold;
            if (program.members[i].sends) speed += workers[i].speed;
        }
        AveragingRates rates = solve(program);
        const double pace =
            combined_pace(speed / problem.target_batch, rates.rate / problem.vector_length, problem.overlap);
        if (!best.computes.empty() && pace <= best.steps_per_second) continue;
        best.steps_per_second = pace;
        best.rates = std::move(rates);
        best.computes.clear();
        for (const SplitMember& member : program.members) best.computes.push_back(member.sends);
    }
    return best;
}

}  // namespace shoal::collective
