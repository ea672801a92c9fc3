// Progress records: directory values and messages of strangers.
#include <cmath>
#include <cstdlib>

#include "shoal/base/error.h"
#include "shoal/collective/progress_book.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace shoal;
    using namespace shoal::collective;
    const PeerId owner(sha256(as_bytes("owner"))), self(sha256(as_bytes("self")));
    ProgressSettings settings;
    settings.run = "fuzz";
    settings.target_batch_size = Samples{1000};
    ProgressBook book(self, settings);
    Progress own;
    own.training = true;
    own.step = Step{5};
    const TimePoint now{std::chrono::seconds(10)};
    book.set_own(own, now);
    try {
        const ProgressRecord record = decode_progress({data, size}, owner);
        book.accept(record, ProgressBook::Source::connection, std::chrono::seconds(30), now);
        const Bytes again = encode_progress(record);
        if (again.size() > dht::kMaximumValueBytes) std::abort();
        decode_progress(again, owner);
    } catch (const Error&) {
        return 0;
    }
    const SwarmView view = book.view();
    if (value(view.step) < 5 || value(view.step) > 7) std::abort();  // one stranger moves nobody further
    if (value(view.samples) < 0 || value(view.samples) > 1000) std::abort();
    if (!std::isfinite(view.samples_per_second) || view.eta < Duration::zero()) std::abort();
    return 0;
}
