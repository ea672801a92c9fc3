#include "shoal/collective/state_messages.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <shoal/proto/state.pb.h>

#include "shoal/base/error.h"
#include "shoal/collective/round_messages.h"
#include "shoal/net/rpc.h"

namespace shoal::collective {

namespace {

constexpr std::uint64_t kMaximumStateStep = std::uint64_t{1} << 40;

void append(Bytes& bytes, std::uint64_t number) {
    for (int shift = 0; shift < 64; shift += 8) bytes.push_back(static_cast<std::uint8_t>(number >> shift));
}

[[noreturn]] void refuse(const PeerId& from, const std::string& what) {
    throw Error(ErrorKind::protocol_violation, "sent, of its state, " + what, from.short_name());
}

/// What is wrong with a shape, or nothing.
std::string fault_of(const StateManifest& manifest, std::size_t maximum_bytes) {
    if (manifest.chunk_bytes < kMinimumChunkBytes || manifest.chunk_bytes > kMaximumChunkBytes ||
        manifest.chunk_bytes % sizeof(float) != 0)
        return "a chunk size of " + std::to_string(manifest.chunk_bytes) + " bytes";
    if (manifest.sections.empty()) return "no section";
    if (manifest.sections.size() > kMaximumSections)
        return std::to_string(manifest.sections.size()) + " sections";
    std::set<std::string_view> names;
    std::uint64_t room = maximum_bytes / sizeof(float);
    for (const SectionShape& section : manifest.sections) {
        if (section.name.empty() || section.name.size() > kMaximumSectionName)
            return "a section without a proper name";
        if (!names.insert(section.name).second) return "a section twice";
        if (section.elements > room) return "more than " + std::to_string(maximum_bytes) + " bytes";
        room -= section.elements;
    }
    return {};
}

StateManifest manifest_from(const proto::StateManifest& in, const PeerId& from, std::size_t maximum_bytes) {
    StateManifest manifest;
    if (in.step() > kMaximumStateStep) refuse(from, "an implausible step");
    if (in.sections_size() > static_cast<int>(kMaximumSections)) refuse(from, "too many sections");
    manifest.step = static_cast<Step>(in.step());
    manifest.chunk_bytes = in.chunk_bytes();
    for (const auto& section : in.sections()) {
        SectionShape shape;
        shape.name = section.name();
        shape.elements = section.elements();
        manifest.sections.push_back(std::move(shape));
    }
    const std::string fault = fault_of(manifest, maximum_bytes);
    if (!fault.empty()) refuse(from, fault);
    return manifest;
}

std::vector<Digest> digests_from(std::string_view leaves, const PeerId& from) {
    const ByteView bytes = as_bytes(leaves);
    const std::size_t count = bytes.size() / kDigestBytes;
    if (count == 0 || count > kDigestsOfMessage || count * kDigestBytes != bytes.size())
        refuse(from, "a list of digests that does not fit");
    std::vector<Digest> digests;
    digests.reserve(count);
    for (std::size_t at = 0; at < bytes.size(); at += kDigestBytes)
        digests.push_back(Digest::from_bytes(bytes.subspan(at, kDigestBytes)));
    return digests;
}

/// Calls `part(section floats as bytes, offset within them, offset within the range, size)` for each piece of
/// a range.
template <typename Sections, typename Part>
void for_each_part(Sections& sections, std::size_t offset, std::size_t size, Part part) {
    std::size_t begin = 0, done = 0;
    for (auto& section : sections) {
        const std::size_t bytes = section.values.size() * sizeof(float);
        if (done < size && offset + done < begin + bytes) {
            const std::size_t within = offset + done - begin;
            const std::size_t count = std::min(size - done, bytes - within);
            part(section, within, done, count);
            done += count;
        }
        begin += bytes;
    }
    if (done != size) throw Error(ErrorKind::invalid_argument, "a range of bytes lies outside of the state");
}

}  // namespace

std::size_t StateManifest::total_bytes() const {
    std::size_t elements = 0;
    for (const SectionShape& section : sections) elements += section.elements;
    return elements * sizeof(float);
}

std::size_t StateManifest::size_of_chunk(std::size_t index) const {
    return std::min(chunk_bytes, total_bytes() - index * chunk_bytes);
}

Digest StateManifest::header_leaf() const {
    Bytes header = to_bytes("shoal state 1");
    append(header, static_cast<std::uint64_t>(value(step)));
    append(header, chunk_bytes);
    append(header, sections.size());
    for (const SectionShape& section : sections) {
        append(header, section.name.size());
        header.insert(header.end(), section.name.begin(), section.name.end());
        append(header, section.elements);
    }
    return merkle_leaf(header);
}

Digest StateManifest::root(std::span<const Digest> leaves) const {
    std::vector<Digest> all;
    all.reserve(leaves.size() + 1);
    all.push_back(header_leaf());
    all.insert(all.end(), leaves.begin(), leaves.end());
    return merkle_root(all);
}

StateManifest manifest_of(const State& state, std::size_t chunk_bytes) {
    StateManifest manifest;
    manifest.step = state.step;
    manifest.chunk_bytes = chunk_bytes;
    for (const StateSection& section : state.sections) {
        SectionShape shape;
        shape.name = section.name;
        shape.elements = section.values.size();
        manifest.sections.push_back(std::move(shape));
    }
    const std::string fault = fault_of(manifest, SIZE_MAX);
    if (!fault.empty()) throw Error(ErrorKind::invalid_argument, "a state cannot be sent: it has " + fault);
    return manifest;
}

std::shared_ptr<State> empty_state(const StateManifest& manifest) {
    auto state = std::make_shared<State>();
    state->step = manifest.step;
    for (const SectionShape& shape : manifest.sections) {
        StateSection section;
        section.name = shape.name;
        section.values.resize(shape.elements);
        state->sections.push_back(std::move(section));
    }
    return state;
}

void copy_out(const State& state, std::size_t offset, MutableByteView bytes) {
    auto part = [&](const StateSection& section, std::size_t within, std::size_t done, std::size_t count) {
        const auto* from = reinterpret_cast<const std::uint8_t*>(section.values.data());
        std::memcpy(bytes.data() + done, from + within, count);
    };
    for_each_part(state.sections, offset, bytes.size(), part);
}

void copy_in(State& state, std::size_t offset, ByteView bytes) {
    auto part = [&](StateSection& section, std::size_t within, std::size_t done, std::size_t count) {
        auto* to = reinterpret_cast<std::uint8_t*>(section.values.data());
        std::memcpy(to + within, bytes.data() + done, count);
    };
    for_each_part(state.sections, offset, bytes.size(), part);
}

Bytes encode_state_request(const StateRequest& request) {
    proto::StateRequest out;
    switch (request.what) {
        case StateRequest::What::begin:
            out.set_minimum_step(request.number);
            break;
        case StateRequest::What::manifest:
            out.set_want_manifest(true);
            break;
        case StateRequest::What::chunk:
            out.set_chunk(request.number);
            break;
        case StateRequest::What::stay:
            out.set_stay(true);
            break;
    }
    return net::to_control(out);
}

StateRequest decode_state_request(const net::Message& message, const PeerId& from) {
    const auto in = net::parse_control<proto::StateRequest>(message, from);
    StateRequest request;
    switch (in.what_case()) {
        case proto::StateRequest::kMinimumStep:
            if (in.minimum_step() > kMaximumStateStep) refuse(from, "a request for an implausible step");
            request.what = StateRequest::What::begin;
            request.number = in.minimum_step();
            break;
        case proto::StateRequest::kWantManifest:
            request.what = StateRequest::What::manifest;
            break;
        case proto::StateRequest::kChunk:
            request.what = StateRequest::What::chunk;
            request.number = in.chunk();
            break;
        case proto::StateRequest::kStay:
            request.what = StateRequest::What::stay;
            break;
        case proto::StateRequest::WHAT_NOT_SET:
            refuse(from, "an empty request");
    }
    return request;
}

Bytes encode_state_answer(const StateAnswer& answer) {
    proto::StateAnswer out;
    switch (answer.what) {
        case StateAnswer::What::preparing:
            out.set_preparing(true);
            break;
        case StateAnswer::What::offer:
            out.mutable_offer()->set_step(static_cast<std::uint64_t>(value(answer.offer.step)));
            out.mutable_offer()->set_root(answer.offer.root.bytes.data(), kDigestBytes);
            out.mutable_offer()->set_total_bytes(answer.offer.total_bytes);
            break;
        case StateAnswer::What::refusal:
            out.set_refusal(answer.refusal);
            break;
        case StateAnswer::What::manifest:
            out.mutable_manifest()->set_step(static_cast<std::uint64_t>(value(answer.manifest.step)));
            out.mutable_manifest()->set_chunk_bytes(answer.manifest.chunk_bytes);
            for (const SectionShape& shape : answer.manifest.sections) {
                auto* section = out.mutable_manifest()->add_sections();
                section->set_name(shape.name);
                section->set_elements(shape.elements);
            }
            break;
        case StateAnswer::What::digests:
            for (const Digest& leaf : answer.digests)
                out.mutable_digests()->mutable_leaves()->append(as_text(leaf.bytes));
            break;
        case StateAnswer::What::chunk:
            out.set_chunk(answer.chunk);
            break;
        case StateAnswer::What::piece:
            out.set_piece(true);
            break;
    }
    return net::to_control(out);
}

StateAnswer decode_state_answer(const net::Message& message, const PeerId& from, std::size_t maximum_bytes) {
    const auto in = net::parse_control<proto::StateAnswer>(message, from);
    StateAnswer answer;
    switch (in.what_case()) {
        case proto::StateAnswer::kPreparing:
            answer.what = StateAnswer::What::preparing;
            break;
        case proto::StateAnswer::kOffer:
            answer.what = StateAnswer::What::offer;
            if (in.offer().step() > kMaximumStateStep) refuse(from, "an implausible step");
            if (in.offer().total_bytes() > maximum_bytes)
                refuse(from, "an offer of " + std::to_string(in.offer().total_bytes()) +
                                 " bytes, too many for this run");
            answer.offer.step = static_cast<Step>(in.offer().step());
            answer.offer.root = Digest::from_bytes(as_bytes(in.offer().root()));
            answer.offer.total_bytes = in.offer().total_bytes();
            break;
        case proto::StateAnswer::kRefusal:
            answer.what = StateAnswer::What::refusal;
            answer.refusal = printable(in.refusal());
            break;
        case proto::StateAnswer::kManifest:
            answer.what = StateAnswer::What::manifest;
            answer.manifest = manifest_from(in.manifest(), from, maximum_bytes);
            break;
        case proto::StateAnswer::kDigests:
            answer.what = StateAnswer::What::digests;
            answer.digests = digests_from(in.digests().leaves(), from);
            break;
        case proto::StateAnswer::kChunk:
            answer.what = StateAnswer::What::chunk;
            answer.chunk = in.chunk();
            break;
        case proto::StateAnswer::kPiece:
            answer.what = StateAnswer::What::piece;
            break;
        case proto::StateAnswer::WHAT_NOT_SET:
            refuse(from, "an empty answer");
    }
    return answer;
}

}  // namespace shoal::collective
