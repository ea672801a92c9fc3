#include "shoal/net/address_book.h"

#include <memory>
#include <utility>

namespace shoal::net {
namespace {

using Book = std::map<PeerId, Endpoint>;

awaitable<std::vector<Endpoint>> look_up(std::shared_ptr<const Book> book, PeerId peer) {
    std::vector<Endpoint> found;
    if (const auto entry = book->find(peer); entry != book->end()) found.push_back(entry->second);
    co_return found;
}

}  // namespace

AddressResolver resolver_of(Book book) {
    return [shared = std::make_shared<const Book>(std::move(book))](PeerId peer) {
        return look_up(shared, peer);
    };
}

}  // namespace shoal::net
