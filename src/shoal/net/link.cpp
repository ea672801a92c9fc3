#include "shoal/net/link.h"

#include <algorithm>
#include <utility>

#include "shoal/net/plain_pipe.h"
#include "shoal/net/tls_pipe.h"

namespace shoal::net {
namespace {

struct Secured {
    Secured(std::unique_ptr<BytePipe> p, PeerId id) : pipe(std::move(p)), peer(id) {}
    std::unique_ptr<BytePipe> pipe;
    PeerId peer;
};

awaitable<Secured> secure(std::shared_ptr<LinkContext> context, tcp::socket socket, bool server) {
    if (context->encryption == Encryption::none) {
        auto pipe = std::make_unique<PlainPipe>(std::move(socket));
        const PeerId peer = co_await pipe->handshake(context->key, server);
        co_return Secured(std::move(pipe), peer);
    }
    SSL_CTX* tls = server ? context->as_acceptor.get() : context->as_dialler.get();
    auto pipe = std::make_unique<TlsPipe>(std::move(socket), tls, server);
    const PeerId peer = co_await pipe->handshake();
    co_return Secured(std::move(pipe), peer);
}

/// Our own key answers: it is we ourselves, or a process that has a copy of it.
awaitable<void> refuse_own_key(std::shared_ptr<LinkContext> context, BytePipe& pipe) {
    Greeting greeting = context->greeting;
    const std::uint64_t instance = co_await ask_instance(pipe, std::move(greeting));
    if (instance == context->greeting.instance) throw OwnAddress();
    throw CopiedKey(context->self);
}

}  // namespace

LinkContext::LinkContext(KeyPair own_key, Encryption how, Greeting own_greeting, std::size_t lanes_if_far,
                         Duration what_is_far)
    : key(std::move(own_key)),
      self(key.peer_id()),
      encryption(how),
      greeting(std::move(own_greeting)),
      far_lanes(static_cast<std::uint32_t>(std::clamp<std::size_t>(lanes_if_far, 1, kMaximumLanes))),
      far_round_trip(what_is_far) {
    if (encryption == Encryption::none) return;
    as_dialler = make_tls_context(key, false);
    as_acceptor = make_tls_context(key, true);
}

awaitable<Link> link_as_dialler(std::shared_ptr<LinkContext> context, tcp::socket socket,
                                std::optional<PeerId> expected, LaneNumber lane) {
    Secured secured = co_await secure(context, std::move(socket), false);
    if (secured.peer == context->self) co_await refuse_own_key(context, *secured.pipe);
    if (expected && secured.peer != *expected) {
        throw Error(ErrorKind::refused, "is peer " + secured.peer.short_name() + ", not " +
                                            expected->short_name() +
                                            ": the address belongs to somebody else now");
    }
    Greeting greeting = context->greeting;
    greeting.lane = lane;
    Agreement agreement = co_await greet_as_dialler(*secured.pipe, std::move(greeting));
    co_return Link(std::move(secured.pipe), secured.peer, true, std::move(agreement));
}

awaitable<Link> link_as_acceptor(std::shared_ptr<LinkContext> context, tcp::socket socket,
                                 PeerAdmission admission) {
    Secured secured = co_await secure(context, std::move(socket), true);
    const PeerId peer = secured.peer;
    Admission admit = [admission = std::move(admission), peer](const Greeting& theirs) {
        return admission(peer, theirs);
    };
    Agreement agreement = co_await greet_as_acceptor(*secured.pipe, context->greeting, std::move(admit));
    co_return Link(std::move(secured.pipe), peer, false, std::move(agreement));
}

}  // namespace shoal::net
