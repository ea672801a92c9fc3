// What a test must not do.
TEST(Peer, DISABLED_joins) {}  // refused
TEST(Peer, leaves) {
    GTEST_SKIP() << "later";                          // refused
    std::this_thread::sleep_for(milliseconds(100));   // refused
    usleep(100);                                      // refused
    sleep(1);                                         // refused
    co_await clock.sleep_for(milliseconds(100));      // virtual time
}
