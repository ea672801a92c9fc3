// One download of a state from several donors; download_state() in state_transfer.h is its caller.
//
// A coroutine for each donor walks through a session (opening -> offered -> fetching -> ended); the
// coordinator decides the root once enough donors have offered one, and waits until all chunks are there or
// all sessions have ended. All donors have a say in the root, but only some fetch at a time, in an order that
// differs from receiver to receiver so that newcomers spread over the donors; another follows when one ends.
// Chunks are handed out one by one, so a fast donor delivers more; when none is left to hand out, an idle
// donor is given a chunk that another owes who is much slower, so that one does not hold up the end.
// donor_watch.h has the rules by which a donor is slow, or given up.
#pragma once

#include <deque>
#include <map>
#include <set>

#include "shoal/base/async.h"
#include "shoal/collective/donor_watch.h"
#include "shoal/collective/state_messages.h"
#include "shoal/collective/state_transfer.h"

namespace shoal::collective {

class StateDownload : public std::enable_shared_from_this<StateDownload> {
  public:
    StateDownload(net::Network& network, Clock& clock, StateTransferSettings settings,
                  std::vector<PeerId> donors, Step minimum_step,
                  std::function<void(std::size_t, std::size_t)> progress, Log log);

    /// Throws as download_state does.
    awaitable<StatePointer> run(DownloadReport& report);

  private:
    enum class Stage { opening, offered, fetching, ended };
    struct Session {
        Stage stage = Stage::opening;
        StateOffer offer;           ///< once offered
        std::string reason;         ///< why it ended
        bool pretends = false;      ///< it has not what it was asked for
        bool corrupted = false;     ///< it sent what does not match a hash
        std::size_t delivered = 0;  ///< good chunks
        std::string given_up;       ///< by us, and why
        TimePoint last_request;
        bool sends_manifest = false;
        std::deque<std::size_t> asked;  ///< chunks; they come in this order
        Bytes arriving;                 ///< of the first of these, what is there
        std::unique_ptr<TaskGroup> task;
    };

    awaitable<void> serve(std::shared_ptr<StateDownload> self, PeerId donor);
    awaitable<void> session(PeerId donor);
    awaitable<StateAnswer> next_answer(net::Stream& stream, Bytes& payload);
    awaitable<void> request(net::Stream& stream, StateRequest::What what, std::uint64_t number);
    awaitable<void> stay(net::Stream& stream);
    awaitable<void> until_changed(net::Stream& stream);
    awaitable<void> fetch_manifest(net::Stream& stream);
    bool manifest_is_on_its_way() const;
    awaitable<void> fetch_chunks(net::Stream& stream);
    void accept_piece(const PeerId& donor, const StateAnswer& answer, ByteView bytes);
    void accept_chunk(const PeerId& donor, std::size_t index, ByteView bytes);
    void give_back(const PeerId& donor);
    std::optional<std::size_t> next_chunk(const PeerId& donor);
    std::optional<std::size_t> chunk_of_a_slow_one(const PeerId& donor) const;
    std::size_t bytes_until(const PeerId& donor, std::size_t index) const;
    bool is_slow(const PeerId& owner, std::size_t index, const PeerId& donor) const;

    /// Whether it is this donor's turn to fetch.
    bool may_fetch(const PeerId& donor) const;
    awaitable<void> watch(std::shared_ptr<StateDownload> self);
    void give_up(const PeerId& donor);
    void note_end(const PeerId& donor, const std::exception_ptr& failure);

    /// The root on which most of the donors agree, if that can be said already.
    std::optional<Digest> decide() const;
    awaitable<void> until_decided();
    awaitable<void> until_over();
    void wake();
    awaitable<void> until_event(std::uint64_t seen);
    bool all_ended() const;
    bool complete() const { return manifest_ && remaining_ == 0; }
    [[noreturn]] void fail() const;

    net::Network& network_;
    Clock& clock_;
    StateTransferSettings settings_;
    Step minimum_step_;
    std::function<void(std::size_t, std::size_t)> progress_;
    Log log_;
    std::map<PeerId, Session> sessions_;
    std::optional<TimePoint> first_offer_;
    std::optional<Digest> root_;  ///< decided

    std::optional<StateManifest> manifest_;  ///< checked against the root
    std::vector<Digest> leaves_;
    std::shared_ptr<State> state_;
    std::deque<std::size_t> missing_;                    ///< chunks that nobody was asked for
    std::map<std::size_t, std::set<PeerId>> under_way_;  ///< asked for, and of whom
    std::size_t remaining_ = 0, bytes_done_ = 0;
    std::string damage_;        ///< not empty: the agreed state itself is not sound
    std::uint64_t events_ = 0;  ///< counts wake()s, so that none is missed
    Signal changed_;
    DonorWatch watch_;
    TaskGroup tasks_;  ///< beside those of the sessions
};

}  // namespace shoal::collective
