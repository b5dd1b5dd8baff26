// SPDX-License-Identifier: GPL-3.0-or-later
// The built plugin in a host that plays Orthanc, with scripted bundles in the place of its
// TypeScript. ctest runs each test in a process of its own; they also work one after another in
// one.
#include <dlfcn.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <node_version.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <clocale>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <memory>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "fake_orthanc.h"

namespace {
/** As where a limit of processes is reached. */
std::atomic<bool> noThreads{false};
}  // namespace

/** In the place of the C library's, for this program and for the plugin that it loads. */
extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes,
                              void* (*start)(void*), void* argument) {
  using Create = decltype(&pthread_create);
  static const auto next = reinterpret_cast<Create>(dlsym(RTLD_NEXT, "pthread_create"));
  return noThreads ? EAGAIN : next(thread, attributes, start, argument);
}

namespace cloudstore {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr auto kSuccess = OrthancPluginErrorCode_Success;
constexpr auto kLost = OrthancPluginErrorCode_StorageAreaPlugin;
constexpr auto kGet = OrthancPluginHttpMethod_Get;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kSlowness = 4;
#else
constexpr int kSlowness = 1;
#endif

// However busy the machine is; that a refusal waits for nothing is the core tests' business.
constexpr seconds kAtOnce = seconds(10) * kSlowness;

void useBundle(const std::string& name) {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): before the plugin's threads are there
  setenv("ORTHANC_OBJECT_STORAGE_BUNDLE", (std::string(BUNDLES) + "/" + name).c_str(), 1);
}

/** Bytes that tell where they come from. */
std::string makeContent(size_t size, unsigned seed = 1) {
  std::mt19937 random(seed);
  std::string content(size, '\0');
  for (char& c : content) {
    c = static_cast<char>(random());
  }
  return content;
}

/** A thread that makes one call and keeps its outcome. */
template <typename Outcome>
class InFlight {
 public:
  explicit InFlight(std::function<Outcome()> call)
      : thread_([this, call = std::move(call)] {
          outcome_ = call();
          done_ = true;
        }) {}
  ~InFlight() {
    if (thread_.joinable()) {
      thread_.join();
    }
  }
  InFlight(const InFlight&) = delete;
  InFlight& operator=(const InFlight&) = delete;

  [[nodiscard]] bool done() const { return done_; }
  Outcome outcome() {
    if (thread_.joinable()) {
      thread_.join();
    }
    return outcome_;
  }

 private:
  Outcome outcome_{};
  std::atomic<bool> done_{false};
  std::thread thread_;
};

class Stopwatch {
 public:
  [[nodiscard]] milliseconds elapsed() const {
    return std::chrono::duration_cast<milliseconds>(steady_clock::now() - start_);
  }

 private:
  steady_clock::time_point start_ = steady_clock::now();
};

class HostTest : public testing::Test {
 protected:
  HostTest() { useBundle("store.cjs"); }

  void TearDown() override {
    orthanc.finalize();
    EXPECT_EQ(FakeOrthanc::violations(), "");
    EXPECT_EQ(FakeOrthanc::blocks(), 0U);
    if (HasFailure()) {
      for (const auto& line : orthanc.log()) {
        std::printf("  log %d: %s\n", line.level, line.text.c_str());
      }
    }
  }

  void start(const std::string& configuration = "{}") {
    orthanc.setConfiguration(configuration);
    ASSERT_EQ(orthanc.initialize(), 0);
    ASSERT_TRUE(orthanc.hasStorageArea());
  }

  /** Storing works, and what was stored comes back. */
  void expectServes() {
    const std::string content = makeContent(100'000);
    EXPECT_EQ(orthanc.create("check", content), kSuccess);
    EXPECT_EQ(orthanc.readWhole("check").bytes, content);
    EXPECT_EQ(orthanc.readRange("check", 10, 20).bytes, content.substr(10, 20));
    EXPECT_EQ(orthanc.remove("check"), kSuccess);
    EXPECT_EQ(orthanc.readWhole("check").code, OrthancPluginErrorCode_InexistentFile);
  }

  void expectLogs(std::initializer_list<const char*> lines) {
    for (const char* line : lines) {
      EXPECT_TRUE(orthanc.awaitLog(line)) << line;
    }
  }

  void expectRefusal(const std::string& bundle, const std::string& reason) {
    useBundle(bundle);
    const Stopwatch watch;
    EXPECT_NE(orthanc.initialize(), 0);
    EXPECT_LT(watch.elapsed(), kAtOnce);
    EXPECT_TRUE(orthanc.hasLogged(reason));
    EXPECT_FALSE(orthanc.hasStorageArea());
    orthanc.finalize();
    useBundle("store.cjs");
    start();
    expectServes();
  }

  FakeOrthanc orthanc;
};

// --- contents

TEST_F(HostTest, StoresReadsAndRemoves) {
  start();
  expectServes();
}

TEST_F(HostTest, SizesFromNothingTo64MB) {
  start();
  for (const size_t size :
       {size_t{0}, size_t{1}, size_t{65'535}, size_t{65'536}, size_t{65'537}, size_t{64} << 20}) {
    const std::string content = makeContent(size);
    ASSERT_EQ(orthanc.create("x", content), kSuccess) << size;
    const auto whole = orthanc.readWhole("x");
    EXPECT_EQ(whole.code, kSuccess) << size;
    EXPECT_TRUE(whole.bytes == content) << size;
    const auto range = orthanc.readRange("x", size / 3, size / 2);
    EXPECT_EQ(range.code, kSuccess) << size;
    EXPECT_TRUE(range.bytes == content.substr(size / 3, size / 2)) << size;
  }
}

TEST_F(HostTest, WithoutRangeReadsNoneAreRegistered) {
  start(R"({"rangeReads": false})");
  EXPECT_EQ(orthanc.storage().readRange, nullptr);
  EXPECT_NE(orthanc.storage().readWhole, nullptr);
}

TEST_F(HostTest, ErrorsArriveAsOrthancsCodes) {
  start();
  EXPECT_EQ(orthanc.readWhole("none").code, OrthancPluginErrorCode_InexistentFile);
  EXPECT_EQ(orthanc.create("x", "abc"), kSuccess);
  EXPECT_EQ(orthanc.readRange("x", 1, 3).code, OrthancPluginErrorCode_BadRange);
  EXPECT_EQ(orthanc.storage().create("x", nullptr, -1, OrthancPluginContentType_Dicom),
            OrthancPluginErrorCode_ParameterOutOfRange);
}

TEST_F(HostTest, AReadOfAnotherSizeIsAnError) {
  start();
  EXPECT_EQ(orthanc.readRange("!otherSize", 0, 100).code, OrthancPluginErrorCode_CorruptedFile);
  EXPECT_TRUE(orthanc.hasLogged("allocate: allocate: no room for 101 bytes"));
}

TEST_F(HostTest, SuccessWithBytesMissingIsAnError) {
  start();
  EXPECT_EQ(orthanc.readWhole("!short").code, OrthancPluginErrorCode_CorruptedFile);
  EXPECT_TRUE(orthanc.hasLogged("complete: complete: bytes are missing from 9 on, of 10"));
}

TEST_F(HostTest, WrongUseOfTheBindingThrowsAndChangesNothing) {
  start();
  EXPECT_EQ(orthanc.create("!outside", "0123456789"), kSuccess);
  expectLogs({
      "read beyond: read: bytes 0 to 11 of 10",
      "read negative: offset must be a whole number",
      "read half: offset must be a whole number",
      "read nothing at the end: done",
      "write unasked: write: bytes 0 to 1 of 0",
      "allocate unasked: allocate: this request takes no bytes",
      "write a string: bytes must be a Uint8Array",
      "respond to storage: a request of storage has no such answer",
      "complete with 2^32: code must be a whole number from 0 to 2147483647",
      "complete with text: code must be a whole number",
      "other id: REQUEST_OVER",
      "again: REQUEST_OVER",
  });
}

TEST_F(HostTest, Crc32IsThatOfZlib) {
  start();
  EXPECT_EQ(orthanc.create("!crc32", "1"), kSuccess);
  expectLogs({
      "crc32: right",
      "crc32 of a string: bytes must be a Uint8Array",
      "crc32 after 2^32: checksum must be a whole number from 0 to 4294967295",
  });
}

TEST_F(HostTest, WrongStepsOnFilesThrow) {
  start();
  EXPECT_EQ(orthanc.create("!fileSteps", "1"), kSuccess);
  expectLogs({
      "no steps: done",
      "unknown step: \"format\" is no step",
      "step without a name: \"undefined\" is no step",
      "no array: steps must be an array",
      "no array of arrays: a step must be an array",
      "open without flags: flags must be a whole number from 0 to 2147483647",
      "write a string: bytes must be a Uint8Array",
      "write before the beginning: position must be a whole number",
      "file as text: file must be a whole number from 0 to 2147483647",
      "endless: timeoutMs must be a whole number",
  });
}

TEST_F(HostTest, ContentsAreEncryptedWhereTheyLie) {
  start();
  constexpr std::array<uint8_t, 60> kPlaintext{
      0xd9, 0x31, 0x32, 0x25, 0xf8, 0x84, 0x06, 0xe5, 0xa5, 0x59, 0x09, 0xc5, 0xaf, 0xf5, 0x26,
      0x9a, 0x86, 0xa7, 0xa9, 0x53, 0x15, 0x34, 0xf7, 0xda, 0x2e, 0x4c, 0x30, 0x3d, 0x8a, 0x31,
      0x8a, 0x72, 0x1c, 0x3c, 0x0c, 0x95, 0x95, 0x68, 0x09, 0x53, 0x2f, 0xcf, 0x0e, 0x24, 0x49,
      0xa6, 0xb5, 0x25, 0xb1, 0x6a, 0xed, 0xf5, 0xaa, 0x0d, 0xe6, 0x57, 0xba, 0x63, 0x7b, 0x39};
  EXPECT_EQ(orthanc.create("!encrypt", std::string(kPlaintext.begin(), kPlaintext.end())),
            kSuccess);
  EXPECT_EQ(orthanc.create("!encrypt", makeContent(200'001)), kSuccess);
  EXPECT_EQ(orthanc.create("!encrypt", ""), kSuccess);
  expectLogs({
      "sealed: right",
      "opened: right",
      "other additional data: right",
      "forged: right",
      "counter: right",
      "sealed whole: right",
      "sealed whole elsewhere: right",
      "opened whole: right",
      "forged whole: right",
      "a key of 31: AES: a key has 32 bytes",
      "mode 3: mode must be a whole number from 0 to 2",
      "no key: bytes must be a Uint8Array",
      "called: Class constructors cannot be invoked without 'new'",
      "before a message: AES: no message has begun",
      "seal twice: AES: no message to be sealed has begun",
      "counter with data: AES: additional data is GCM's",
      "short block: AES: a counter block has 16 bytes",
      "no nonce: OpenSSL cannot take a nonce of this length",
      "opened by a sealer: AES: no message to be opened has begun",
      "other lengths: source and target have different lengths",
      "a tag of 15: AES: a tag has 16 bytes",
      "encrypt beyond: read: bytes 1 to 61 of 60",
      "encrypt with another object: this is no Aes",
      "encrypt with a number: this is no Aes",
      "seal beyond: read: bytes 1 to 61 of 60",
      "seal without room: AES: there is no room for a tag",
      "seal other lengths: source and target have different lengths",
      "open without room: source and target have different lengths",
      "seal by an opener: AES: no message to be sealed has begun",
      "seal with another object: this is no Aes",
      "encrypt when wiped: AES: the key has been wiped",
      "seal when wiped: AES: the key has been wiped",
      "begin when wiped: AES: the key has been wiped",
  });
  EXPECT_FALSE(orthanc.hasLogged("WRONG"));
}

TEST_F(HostTest, ARequestThatEndsWhileItIsAnsweredIsSafe) {
  start();
  EXPECT_EQ(orthanc.rest(kGet, "/object-storage/reenter").body, "ended");
  EXPECT_TRUE(orthanc.awaitLog("respond: REQUEST_OVER"));
}

TEST_F(HostTest, ManyThreadsWithMixedOperations) {
  start();
  constexpr int kThreads = 12;
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (unsigned t = 0; t < kThreads; ++t) {
    threads.emplace_back([this, t] {
      std::mt19937 random(t);
      for (unsigned i = 0; i < 60U / kSlowness; ++i) {
        const std::string uuid = std::to_string(t) + "-" + std::to_string(i % 5);
        const std::string content = makeContent(random() % 300'000, t * 1000 + i);
        ASSERT_EQ(orthanc.create(uuid, content), kSuccess);
        ASSERT_TRUE(orthanc.readWhole(uuid).bytes == content);
        const uint64_t start = content.empty() ? 0 : random() % content.size();
        const uint64_t length = random() % (content.size() - start + 1);
        ASSERT_TRUE(orthanc.readRange(uuid, start, length).bytes == content.substr(start, length));
        if (i % 3 == 0) {
          ASSERT_EQ(orthanc.remove(uuid), kSuccess);
          ASSERT_EQ(orthanc.readWhole(uuid).code, OrthancPluginErrorCode_InexistentFile);
        }
        if (i % 7 == 0) {
          ASSERT_EQ(orthanc.rest(OrthancPluginHttpMethod_Post, "/object-storage/x", {}, uuid).body,
                    "POST /object-storage/x " + uuid);
        }
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

// --- starting

TEST_F(HostTest, SeveralTimesInOneProcess) {
  for (int i = 0; i < 5; ++i) {
    start();
    expectServes();
    orthanc.finalize();
  }
}

TEST_F(HostTest, FinalizeWithoutInitializeAndTwice) {
  start();
  orthanc.finalize();
  orthanc.finalize();
  orthanc.load();
  orthanc.unload();
}

TEST_F(HostTest, ScannedFirstThenLoaded) {
  // As Orthanc does with plugins in a folder; and unloaded between resets.
  for (int i = 0; i < 3; ++i) {
    orthanc.load();
    orthanc.unload();
    start();
    expectServes();
    orthanc.finalize();
    orthanc.unload();
  }
}

TEST_F(HostTest, RefusedThenAccepted) {
  for (int i = 0; i < 3; ++i) {
    orthanc.setConfiguration(R"({"refuse": "AwsS3Storage.BuketName: unknown key"})");
    const Stopwatch watch;
    EXPECT_NE(orthanc.initialize(), 0);
    EXPECT_LT(watch.elapsed(), kAtOnce);
    EXPECT_TRUE(orthanc.hasLogged("AwsS3Storage.BuketName: unknown key"));
    orthanc.finalize();
    start();
    expectServes();
    orthanc.finalize();
  }
  // The warning about the bundle aside, the refusal is all that is said, once a time.
  const auto log = orthanc.log();
  EXPECT_EQ(std::ranges::count_if(
                log, [](const auto& line) { return line.level == OrthancPluginLogLevel_Error; }),
            3);
}

TEST_F(HostTest, NoSectionOfOursLeavesOrthancsStorageAlone) {
  orthanc.setConfiguration(R"({"storage": false})");
  EXPECT_EQ(orthanc.initialize(), 0);
  EXPECT_FALSE(orthanc.hasStorageArea());
  orthanc.finalize();
}

TEST_F(HostTest, AnotherPluginCameFirst) {
  orthanc.refuseStorageArea();
  EXPECT_NE(orthanc.initialize(), 0);
  EXPECT_TRUE(orthanc.hasLogged("another plugin has registered one before"));
}

TEST_F(HostTest, AnOldOrthancIsRefused) {
  orthanc.setVersion("1.12.3");
  EXPECT_NE(orthanc.initialize(), 0);
  EXPECT_TRUE(orthanc.hasLogged("needs Orthanc 1.12.4 or newer, this is 1.12.3"));
}

TEST_F(HostTest, ABundleThatDoesNotParse) { expectRefusal("syntax-error.cjs", "SyntaxError"); }
TEST_F(HostTest, ABundleThatThrowsAtLoad) { expectRefusal("throws-at-load.cjs", "not loadable"); }
TEST_F(HostTest, ABundleWhoseMainThrows) { expectRefusal("throws-in-main.cjs", "no main today"); }
TEST_F(HostTest, ABundleWithoutMain) { expectRefusal("no-main.cjs", "main is not a function"); }
TEST_F(HostTest, ABundleThatExits) { expectRefusal("exits-in-main.cjs", "process.exit(3)"); }
TEST_F(HostTest, ABundleThatThrowsUncaught) { expectRefusal("throws-early.cjs", "too early"); }
TEST_F(HostTest, ABundleThatIsNotThere) { expectRefusal("absent.cjs", "absent.cjs"); }

TEST_F(HostTest, ABundleThatIsNeverReady) {
  orthanc.setConfiguration(R"({"neverReady": true})");
  const Stopwatch watch;
  EXPECT_NE(orthanc.initialize(), 0);
  EXPECT_LT(watch.elapsed(), seconds(32));
  EXPECT_TRUE(orthanc.hasLogged("the runtime was not ready after 30 s"));
}

/** What the tests below run in a process that they have restricted. */
TEST_F(HostTest, Restricted) {
  const char* given = std::getenv("REFUSED_BECAUSE");  // NOLINT(concurrency-mt-unsafe)
  const std::string reason = given == nullptr ? "" : given;
  if (!reason.empty()) {
    noThreads = reason.starts_with("threads");
    EXPECT_NE(orthanc.initialize(), 0);
    EXPECT_TRUE(orthanc.hasLogged(reason));
    EXPECT_EQ(orthanc.log().size(), 1U);
    EXPECT_FALSE(orthanc.hasStorageArea());
    if (!noThreads.exchange(false)) {
      return;
    }
    // They were in use only for a while.
  }
  start();
  expectServes();
}

/** Ends the process where it cannot: for children of fork. */
[[noreturn]] void execute(std::vector<const char*> words) {
  words.push_back(nullptr);
  execv(words[0], const_cast<char* const*>(words.data()));
  _exit(EXIT_FAILURE);
}

void expectSuccessOf(pid_t child) {
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), EXIT_SUCCESS);
}

/** @param restriction for `restricted`; empty: none
 *  @param reason empty: it starts all the same */
void expectRefusalOf(const std::string& restriction, const std::string& reason) {
  const pid_t child = fork();
  if (child == 0) {
    setenv("REFUSED_BECAUSE", reason.c_str(), 1);  // NOLINT(concurrency-mt-unsafe)
    const std::string self = std::filesystem::read_symlink("/proc/self/exe");
    std::vector<const char*> words{self.c_str(), "--gtest_filter=HostTest.Restricted"};
    if (!restriction.empty()) {
      words.insert(words.begin(), {RESTRICTED, restriction.c_str()});
    }
    execute(words);
  }
  expectSuccessOf(child);
}

TEST(HostTestRestricted, MemoryThatMayNotBecomeExecutable) {
  expectRefusalOf("mdwe", "MemoryDenyWriteExecute=no");
  expectRefusalOf("mdwe-filter", "MemoryDenyWriteExecute=no");
}

TEST(HostTestRestricted, NoMoreThreads) {
  expectRefusalOf("", "threads, and the system gives 0 (Resource temporarily unavailable). Raise");
}

#if !defined(__SANITIZE_ADDRESS__)  // which has terabytes of its own
TEST(HostTestRestricted, TooLittleAddressSpace) {
  expectRefusalOf("address-space=700",
                  "limited to 700 MB of address space (LimitAS= of systemd, ulimit -v): lift that");
}

TEST(HostTestRestricted, TooLittleData) {
  expectRefusalOf("data=100", "limited to 100 MB of data (LimitDATA= of systemd, ulimit -d)");
}
#endif

TEST(HostTestRestricted, AFilterThatKillsWhoAsksForProtectionKeys) {
#if defined(__x86_64__) && NODE_MAJOR_VERSION < 22
  expectRefusalOf("no-pkeys", "SystemCallFilter=@pkey");
#else
  expectRefusalOf("no-pkeys", "");
#endif
}

/** What the test below runs in a process in which it has run before, as another program. */
TEST_F(HostTest, StartsAndExecutesItselfAnew) {
  start();
  const char* filter = "--gtest_filter=HostTest.Restricted";
  if (std::getenv("EXECUTE_ANEW") != nullptr) {  // NOLINT(concurrency-mt-unsafe)
    std::array<const char*, 3> words{"/proc/self/exe", filter, nullptr};
    execv(words[0], const_cast<char* const*>(words.data()));
    FAIL() << "not executed";
  }
}

TEST(HostTestRestricted, AnotherProgramInTheSameProcessStarts) {
  const pid_t child = fork();
  if (child == 0) {
    setenv("EXECUTE_ANEW", "1", 1);  // NOLINT(concurrency-mt-unsafe)
    unsetenv("REFUSED_BECAUSE");     // NOLINT(concurrency-mt-unsafe)
    execute({"/proc/self/exe", "--gtest_filter=HostTest.StartsAndExecutesItselfAnew"});
  }
  expectSuccessOf(child);
}

TEST_F(HostTest, CallsBeforeAndAfterOrthancRuns) {
  start();
  expectServes();
  orthanc.change(OrthancPluginChangeType_OrthancStarted);
  expectServes();
  orthanc.change(OrthancPluginChangeType_OrthancStopped);
  expectServes();
}

TEST_F(HostTest, CallsOutsideInitializeAndFinalizeFail) {
  start();
  const auto storage = orthanc.storage();
  orthanc.finalize();
  EXPECT_EQ(storage.remove("x", OrthancPluginContentType_Dicom), OrthancPluginErrorCode_Plugin);
}

TEST_F(HostTest, NodeOptionsAreIgnored) {
  const std::string options = std::string("--require=") + BUNDLES + "/poison.cjs --no-such-option";
  setenv("NODE_OPTIONS", options.c_str(), 1);  // NOLINT(concurrency-mt-unsafe)
  start();
  const std::string facts = orthanc.rest(kGet, "/object-storage/process").body;
  unsetenv("NODE_OPTIONS");  // NOLINT(concurrency-mt-unsafe)
  EXPECT_NE(facts.find(R"("execArgv":[])"), std::string::npos) << facts;
  EXPECT_NE(facts.find(R"("restarted":false)"), std::string::npos) << facts;
}

TEST_F(HostTest, LogLevelsArrive) {
  start();
  orthanc.rest(kGet, "/object-storage/log");
  std::vector<OrthancPluginLogLevel> levels;
  for (const auto& line : orthanc.log()) {
    if (line.text.starts_with("level ")) {
      levels.push_back(line.level);
    }
  }
  EXPECT_EQ(levels, (std::vector{OrthancPluginLogLevel_Error, OrthancPluginLogLevel_Warning,
                                 OrthancPluginLogLevel_Info, OrthancPluginLogLevel_Trace}));
}

// --- REST

TEST_F(HostTest, RestRequestsReachTypeScript) {
  start();
  const auto reply =
      orthanc.rest(OrthancPluginHttpMethod_Put, "/object-storage/x", {{"a", "b"}}, "body");
  EXPECT_EQ(reply.code, kSuccess);
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.contentType, "text/plain");
  EXPECT_EQ(reply.body, "PUT /object-storage/x body");
  const auto missing = orthanc.rest(kGet, "/object-storage/missing");
  EXPECT_EQ(missing.status, 404);
  EXPECT_EQ(missing.contentType, "text/plain");
  EXPECT_EQ(missing.body, "none such");
  EXPECT_EQ(reply.headers + missing.headers, "");
}

TEST_F(HostTest, HeadersGoBothWays) {
  start();
  const FakeOrthanc::Arguments headers{{"if-none-match", "\"a: b\""}, {"x", ""}};
  const std::string expected = "IF-NONE-MATCH: \"A: B\"\nX: \n";
  const auto reply = orthanc.rest(kGet, "/object-storage/headers", headers, "body");
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(reply.contentType, "text/css");
  EXPECT_EQ(reply.headers, expected);
  const auto same = orthanc.rest(kGet, "/object-storage/headers", headers);
  EXPECT_EQ(same.status, 304);
  EXPECT_EQ(same.body, "");
  EXPECT_EQ(same.headers, expected);
}

TEST_F(HostTest, ARestRequestThatIsNotAnsweredIs503) {
  start(R"({"callTimeoutMs": 200})");
  const auto reply = orthanc.rest(kGet, "/object-storage/silent");
  EXPECT_EQ(reply.status, 503);
  EXPECT_EQ(reply.body, "no answer before the deadline\n");
}

TEST_F(HostTest, TypeScriptCallsOrthancWhichCallsStorage) {
  start();
  ASSERT_EQ(orthanc.create("inner", "content"), kSuccess);
  orthanc.setRestApi([this](OrthancPluginHttpMethod method, const std::string& uri,
                            const std::string& body) -> FakeOrthanc::RestReply {
    EXPECT_EQ(method, OrthancPluginHttpMethod_Get);
    EXPECT_EQ(body, "");
    return {kSuccess, 201, "", uri + " " + orthanc.readWhole("inner").bytes};
  });
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(orthanc.rest(kGet, "/object-storage/call").body, "201 /made/up content");
  }
}

TEST_F(HostTest, OrthancsErrorsReachTypeScript) {
  start();
  EXPECT_EQ(orthanc.rest(kGet, "/object-storage/call").body, "500 Orthanc error 17");
}

TEST_F(HostTest, ExplorersFindThePage) {
  start();
  EXPECT_EQ(orthanc.property(_OrthancPluginProperty_RootUri), "/object-storage/app/");
  const std::string script = orthanc.property(_OrthancPluginProperty_OrthancExplorer);
  EXPECT_NE(script.find("'../object-storage/app/'"), std::string::npos);
}

// --- Jobs and metrics

TEST_F(HostTest, AJobGoesStepByStep) {
  start();
  EXPECT_EQ(orthanc.rest(kGet, "/object-storage/submit", {}, R"({"a":1})").body, "200 job-1");
  EXPECT_EQ(orthanc.job().content(), R"({"new":true})");
  EXPECT_EQ(orthanc.job().serialized(), R"({"a":1})");
  EXPECT_EQ(orthanc.job().progress(), 0.0F);
  EXPECT_EQ(orthanc.job().step(), OrthancPluginJobStepStatus_Continue);
  EXPECT_EQ(orthanc.job().content(), R"({"kind":"job-step","steps":1})");
  EXPECT_EQ(orthanc.job().step(), OrthancPluginJobStepStatus_Continue);
  EXPECT_EQ(orthanc.job().step(), OrthancPluginJobStepStatus_Success);
  EXPECT_EQ(orthanc.job().progress(), 1.0F);
  EXPECT_EQ(orthanc.job().callbacks.reset(orthanc.job().callbacks.job), kSuccess);
  EXPECT_EQ(orthanc.job().content(), R"({"kind":"job-reset","steps":0})");
  EXPECT_EQ(
      orthanc.job().callbacks.stop(orthanc.job().callbacks.job, OrthancPluginJobStopReason_Paused),
      kSuccess);
  EXPECT_EQ(orthanc.job().content(), R"({"kind":"job-stop","steps":1})");
  orthanc.freeJobs();
}

TEST_F(HostTest, AJobOutlivesTheRuntimeAndOrthanc) {
  start();
  ASSERT_TRUE(orthanc.unserialize("MoveStorage", R"({"fails":true,"exit":1})"));
  EXPECT_FALSE(orthanc.unserialize("ResourceModification", "{}"));
  EXPECT_EQ(orthanc.job().step(), OrthancPluginJobStepStatus_Continue);
  const std::string kept = orthanc.job().serialized();
  orthanc.finalize();
  // Its step goes nowhere, and does no harm.
  EXPECT_EQ(orthanc.job().step(), OrthancPluginJobStepStatus_Continue);
  orthanc.freeJobs();
  start();
  ASSERT_TRUE(orthanc.unserialize("MoveStorage", kept));
  EXPECT_EQ(orthanc.job().step(), OrthancPluginJobStepStatus_Continue);
  EXPECT_EQ(orthanc.job().step(), OrthancPluginJobStepStatus_Failure);
}

TEST_F(HostTest, AStepWhoseRuntimeEndsIsTakenAgain) {
  start();
  ASSERT_TRUE(orthanc.unserialize("MoveStorage", R"({"steps":1,"exit":1})"));
  EXPECT_EQ(orthanc.job().step(), OrthancPluginJobStepStatus_Continue);
  EXPECT_EQ(orthanc.job().serialized(), R"({"steps":1,"exit":1})");
  EXPECT_EQ(orthanc.create("after", "that"), kSuccess);
}

TEST_F(HostTest, AResetThatFindsNoRuntimeIsMadeUpForAtTheNextStep) {
  start();
  ASSERT_TRUE(orthanc.unserialize("MoveStorage", R"({"steps":2,"exitAtReset":true})"));
  EXPECT_EQ(orthanc.job().callbacks.reset(orthanc.job().callbacks.job), kSuccess);
  EXPECT_TRUE(orthanc.awaitLog("a reset that ends the runtime"));
  EXPECT_EQ(orthanc.job().step(), OrthancPluginJobStepStatus_Continue);
  EXPECT_EQ(orthanc.job().content(), R"({"kind":"job-step","steps":1})");
  EXPECT_EQ(orthanc.job().step(), OrthancPluginJobStepStatus_Continue);
  EXPECT_EQ(orthanc.job().content(), R"({"kind":"job-step","steps":2})");
}

TEST_F(HostTest, AJobThatOrthancRefuses) {
  start();
  orthanc.refuseJobs();
  EXPECT_EQ(orthanc.rest(kGet, "/object-storage/submit", {}, "{}").body,
            "500 Orthanc does not take the job");
  EXPECT_EQ(orthanc.jobs(), 0U);
}

TEST_F(HostTest, MetricsComeWhenTheyAreRead) {
  start();
  std::map<std::string, double> expected{{"oos_bytes", 5000000001.0},
                                         {"oos_ms", 1.5},
                                         {"orthanc_object_storage_up", 1},
                                         {"orthanc_object_storage_unanswered_count", 0}};
  EXPECT_EQ(orthanc.metrics(), expected);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(orthanc.remove("!exit"), kLost);
  }
  ASSERT_TRUE(orthanc.awaitLog("Storage is out of order"));
  EXPECT_EQ(orthanc.create("x", "y"), kLost);
  expected["orthanc_object_storage_up"] = 0;
  expected["orthanc_object_storage_unanswered_count"] = 6;
  EXPECT_EQ(orthanc.metrics(), expected);
}

TEST_F(HostTest, ALoopThatHangsIsNotUp) {
  start(R"({"metricsTimeoutMs": 200})");
  const auto storage = orthanc.storage();
  const InFlight<OrthancPluginErrorCode> spinning(
      [&] { return storage.create("!spin", nullptr, 0, OrthancPluginContentType_Dicom); });
  ASSERT_TRUE(orthanc.awaitLog("takes !spin"));
  EXPECT_EQ(orthanc.metrics()["orthanc_object_storage_up"], 0);
  orthanc.finalize();
}

TEST_F(HostTest, ARemovalIsNotWaitedForAsLongAsOthers) {
  start(R"({"removeTimeoutMs": 200})");
  const Stopwatch watch;
  EXPECT_EQ(orthanc.remove("!silent"), OrthancPluginErrorCode_Timeout);
  EXPECT_LT(watch.elapsed(), seconds(2) * kSlowness);
}

TEST_F(HostTest, FinalizeWhileOrthancAnswersACallIsBounded) {
  start(R"({"callTimeoutMs": 60000})");
  std::atomic<bool> release{false};
  orthanc.setRestApi([&](auto, const auto&, const auto&) -> FakeOrthanc::RestReply {
    // As if Orthanc's database waited for what that very call holds up.
    EXPECT_EQ(orthanc.storage().remove("!silent", OrthancPluginContentType_Dicom), kLost);
    release = true;
    return {kSuccess, 200, "", ""};
  });
  const auto storage = orthanc.storage();
  InFlight<OrthancPluginErrorCode> call(
      [&] { return storage.remove("!callThenWait", OrthancPluginContentType_Dicom); });
  ASSERT_TRUE(orthanc.awaitLog("takes !silent"));
  const Stopwatch watch;
  orthanc.finalize();
  EXPECT_LT(watch.elapsed(), seconds(8));
  EXPECT_TRUE(release);
  EXPECT_NE(call.outcome(), kSuccess);
}

// --- JavaScript that misbehaves

/** The command ends the runtime; calls under way fail with the reason, the next ones work. */
using Crash = std::array<std::string, 2>;

class CrashTest : public HostTest, public testing::WithParamInterface<Crash> {};

TEST_P(CrashTest, OrthancLives) {
  const auto& [command, reason] = GetParam();
  // Only the spinning loop is the watchdog's business. The heap of the first environment has no
  // limit that a test could reach.
  start(command == "!spin" ? R"({"watchdogMs": 500})"
                           : R"({"heapMb": 64, "callTimeoutMs": 60000})");
  if (command == "!grow") {
    EXPECT_EQ(orthanc.remove("!exit"), kLost);
  }
  InFlight<OrthancPluginErrorCode> waiting([this] { return orthanc.remove("!silent"); });
  ASSERT_TRUE(orthanc.awaitLog("takes !silent"));
  EXPECT_EQ(orthanc.remove(command), kLost);
  EXPECT_EQ(waiting.outcome(), kLost);
  expectServes();
  EXPECT_TRUE(orthanc.hasLogged(
      "op=remove uuid=!silent code=RUNTIME_LOST failed: the storage runtime ended: " + reason));
  EXPECT_TRUE(orthanc.hasLogged("op=remove uuid=" + command + " code=RUNTIME_LOST" +
                                " failed: the storage runtime ended: " + reason));
  EXPECT_TRUE(orthanc.hasLogged("The storage runtime ended (" + reason));
  EXPECT_NE(orthanc.rest(kGet, "/object-storage/process").body.find(R"("restarted":true)"),
            std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Of, CrashTest,
                         testing::Values(Crash{"!exit", "process.exit(7)"},
                                         Crash{"!exitWhileReading", "process.exit(8)"},
                                         Crash{"!throw", "uncaught exception: boom"},
                                         Crash{"!throwAtOnce", "uncaught exception: at once"},
                                         Crash{"!reject", "unhandled rejection: forgotten"},
                                         Crash{"!spin", "the event loop had not turned for 500 ms"},
                                         Crash{"!grow", "JavaScript's memory is full"}),
                         [](const auto& tested) { return tested.param[0].substr(1); });

// --- several lanes

/** Three lanes, the first of which have a call that waits. */
class LanesTest : public HostTest {
 protected:
  void startBusy(size_t busy, const std::string& configuration = R"({"lanes": 3})") {
    start(configuration);
    for (size_t i = 0; i < busy; ++i) {
      hanging_.push_back(
          std::make_unique<InFlight<OrthancPluginErrorCode>>([storage = orthanc.storage()] {
            return storage.remove("!silent", OrthancPluginContentType_Dicom);
          }));
      ASSERT_TRUE(orthanc.awaitLog("waits in lane " + std::to_string(i)));
    }
  }

  std::string laneThatServes() { return orthanc.readWhole("!lane").bytes; }

 private:
  std::vector<std::unique_ptr<InFlight<OrthancPluginErrorCode>>> hanging_;
};

TEST_F(LanesTest, ACallGoesWhereTheFewestWait) {
  startBusy(2);
  EXPECT_EQ(laneThatServes(), "2");
  orthanc.finalize();
}

TEST_F(LanesTest, OneThatEndedIsAvoidedUntilItIsBack) {
  startBusy(1);
  EXPECT_EQ(orthanc.remove("!exit"), kLost);  // the second one
  EXPECT_EQ(laneThatServes(), "2");
  const Stopwatch watch;
  while (laneThatServes() != "1" && watch.elapsed() < kAtOnce) {
    std::this_thread::sleep_for(milliseconds(5));
  }
  EXPECT_EQ(laneThatServes(), "1");
  orthanc.finalize();
}

TEST_F(LanesTest, TheyAskEachOther) {
  start(R"({"lanes": 2})");
  EXPECT_EQ(orthanc.rest(kGet, "/object-storage/ask-lane/1").body, "200 of lane 1");
  EXPECT_NE(orthanc.rest(kGet, "/object-storage/ask-lane/2").body.substr(0, 3), "200");
}

TEST_F(LanesTest, OneThatHangsIsNotWaitedForLong) {
  start(R"({"lanes": 2})");
  const auto storage = orthanc.storage();
  const InFlight<OrthancPluginErrorCode> waiting(
      [&] { return storage.remove("!silent", OrthancPluginContentType_Dicom); });
  ASSERT_TRUE(orthanc.awaitLog("waits in lane 0"));
  const InFlight<OrthancPluginErrorCode> spinning(
      [&] { return storage.remove("!spin", OrthancPluginContentType_Dicom); });
  ASSERT_TRUE(orthanc.awaitLog("takes !spin"));
  const Stopwatch watch;
  EXPECT_EQ(orthanc.rest(kGet, "/object-storage/ask-lane/1").body,
            "503 no answer before the deadline");
  EXPECT_GE(watch.elapsed(), milliseconds(900));
  EXPECT_LT(watch.elapsed(), milliseconds(1'900) * kSlowness);
  orthanc.finalize();
}

TEST_F(LanesTest, OneThatIsRefusedStopsOrthanc) {
  orthanc.setConfiguration(R"({"lanes": 3, "refuseLane": 2})");
  EXPECT_NE(orthanc.initialize(), 0);
  EXPECT_TRUE(orthanc.hasLogged("not in lane 2"));
  EXPECT_FALSE(orthanc.hasStorageArea());
  orthanc.finalize();
  start();
  expectServes();
}

TEST_F(LanesTest, AllEndSideBySide) {
  startBusy(3, R"({"lanes": 3, "ignoreStop": true})");
  const Stopwatch watch;
  orthanc.finalize();
  EXPECT_LT(watch.elapsed(), seconds(7) * kSlowness);
  start();
  expectServes();
}

TEST_F(HostTest, TooManyCrashesFailAtOnce) {
  start();
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(orthanc.remove("!exit"), kLost);
  }
  ASSERT_TRUE(orthanc.awaitLog("Storage is out of order"));
  const Stopwatch watch;
  EXPECT_EQ(orthanc.create("x", "y"), kLost);
  EXPECT_LT(watch.elapsed(), milliseconds(100));
  EXPECT_TRUE(
      orthanc.hasLogged("op=create uuid=x code=RUNTIME_LOST failed: the storage runtime ended 5 "
                        "times within 60 s, the last time "
                        "because: process.exit(7)"));
  // A reset is a new beginning.
  orthanc.finalize();
  start();
  expectServes();
}

TEST_F(HostTest, FinalizeNeedsNoThread) {
  for (const char* configuration : {"{}", R"({"lanes": 3})"}) {
    start(configuration);
    noThreads = true;
    orthanc.finalize();
    noThreads = false;
    EXPECT_TRUE(orthanc.hasLogged("asked to stop")) << configuration;
    orthanc.clearLog();
  }
  start();
  expectServes();
}

TEST_F(HostTest, FinalizeWhileANewRuntimeStarts) {
  for (const int delay : {0, 3, 10, 20, 40, 80}) {
    start();
    EXPECT_EQ(orthanc.remove("!exit"), kLost);
    ASSERT_TRUE(orthanc.awaitLog("a new one starts"));
    std::this_thread::sleep_for(milliseconds(delay));
    const Stopwatch watch;
    orthanc.finalize();
    EXPECT_LT(watch.elapsed(), seconds(10) * kSlowness) << delay;
  }
}

TEST_F(HostTest, ARuntimeThatIsRefusedLaterCountsAsAnEnd) {
  start(R"({"refuseWhenRestarted": "the bucket is gone", "callTimeoutMs": 1000})");
  EXPECT_EQ(orthanc.remove("!exit"), kLost);
  EXPECT_NE(orthanc.remove("x"), kSuccess);
  EXPECT_TRUE(orthanc.awaitLog("the bucket is gone"));
  const Stopwatch watch;
  orthanc.finalize();
  EXPECT_LT(watch.elapsed(), seconds(10));
}

TEST_F(HostTest, AClosedConnectionKillsNothing) {
  std::array<int, 2> ends{};
  ASSERT_EQ(pipe2(ends.data(), O_CLOEXEC), 0);
  close(ends[0]);
  start(R"({"closedPipe": )" + std::to_string(ends[1]) + "}");
  EXPECT_EQ(orthanc.remove("!pipe"), kSuccess);
  EXPECT_TRUE(orthanc.hasLogged("write to a closed pipe: EPIPE"));
  EXPECT_TRUE(orthanc.hasLogged("socket: written"));
  close(ends[1]);
}

// --- deadlines

/** Memory that can be taken away, as if Orthanc had freed it. */
class Page {
 public:
  explicit Page(size_t size)
      : size_(size),
        data_(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {}
  ~Page() { munmap(data_, size_); }
  Page(const Page&) = delete;
  Page& operator=(const Page&) = delete;
  [[nodiscard]] void* data() const { return data_; }
  void takeAway() { ASSERT_EQ(mprotect(data_, size_, PROT_NONE), 0); }

 private:
  size_t size_;
  void* data_;
};

TEST_F(HostTest, AfterItsDeadlineACreateTouchesNothing) {
  start(R"({"callTimeoutMs": 200})");
  Page content(4096);
  const Stopwatch watch;
  EXPECT_EQ(orthanc.storage().create("!late", content.data(), 4096, OrthancPluginContentType_Dicom),
            OrthancPluginErrorCode_Timeout);
  content.takeAway();
  EXPECT_GE(watch.elapsed(), milliseconds(200));
  EXPECT_LT(watch.elapsed(), milliseconds(400) * kSlowness);
  ASSERT_TRUE(orthanc.awaitLog("late complete: REQUEST_OVER"));
  EXPECT_TRUE(orthanc.hasLogged("late read: REQUEST_OVER"));
  EXPECT_TRUE(orthanc.hasLogged("late encrypt: REQUEST_OVER"));
  EXPECT_TRUE(
      orthanc.hasLogged("op=create uuid=!late code=TIMEOUT failed: no answer before the deadline"));
  expectServes();
}

TEST_F(HostTest, AfterItsDeadlineAReadTouchesNothing) {
  start(R"({"callTimeoutMs": 200})");
  Page target(4096);
  OrthancPluginMemoryBuffer64 buffer{target.data(), 10};
  EXPECT_EQ(orthanc.storage().readRange(&buffer, "!late", OrthancPluginContentType_Dicom, 0),
            OrthancPluginErrorCode_Timeout);
  target.takeAway();
  ASSERT_TRUE(orthanc.awaitLog("late complete: REQUEST_OVER"));
  EXPECT_TRUE(orthanc.hasLogged("late allocate: REQUEST_OVER"));
  EXPECT_TRUE(orthanc.hasLogged("late write: REQUEST_OVER"));
}

// --- stopping

TEST_F(HostTest, FinalizeIsQuickWhenIdle) {
  start();
  expectServes();
  const Stopwatch watch;
  orthanc.finalize();
  EXPECT_LT(watch.elapsed(), milliseconds(300) * kSlowness);
  EXPECT_TRUE(orthanc.hasLogged("asked to stop"));
}

TEST_F(HostTest, FinalizeLetsRequestsUnderWayFinish) {
  start();
  const auto storage = orthanc.storage();
  InFlight<OrthancPluginErrorCode> slow(
      [&] { return storage.remove("!slow", OrthancPluginContentType_Dicom); });
  ASSERT_TRUE(orthanc.awaitLog("takes !slow"));
  orthanc.finalize();
  EXPECT_TRUE(slow.done());
  EXPECT_EQ(slow.outcome(), kSuccess);
}

TEST_F(HostTest, FinalizeFailsRequestsThatHang) {
  start();
  const auto storage = orthanc.storage();
  constexpr int kHanging = 8;
  std::vector<std::unique_ptr<InFlight<OrthancPluginErrorCode>>> hanging;
  hanging.reserve(kHanging);
  for (int i = 0; i < kHanging; ++i) {
    hanging.push_back(std::make_unique<InFlight<OrthancPluginErrorCode>>(
        [&] { return storage.remove("!silent", OrthancPluginContentType_Dicom); }));
  }
  ASSERT_TRUE(orthanc.awaitLog("takes !silent", kHanging));
  const Stopwatch watch;
  orthanc.finalize();
  EXPECT_LT(watch.elapsed(), seconds(4));
  for (const auto& one : hanging) {
    EXPECT_TRUE(one->done());  // also out of the callback, so that nothing uses the context
    EXPECT_NE(one->outcome(), kSuccess);
  }
}

TEST_F(HostTest, FinalizeEndsALoopThatDoesNot) {
  start(R"({"ignoreStop": true})");
  const Stopwatch watch;
  orthanc.finalize();
  EXPECT_LT(watch.elapsed(), seconds(4) * kSlowness);
  start();
  expectServes();
}

TEST_F(HostTest, FinalizeEndsALoopThatSpins) {
  start();
  const auto storage = orthanc.storage();
  InFlight<OrthancPluginErrorCode> spinning(
      [&] { return storage.remove("!spin", OrthancPluginContentType_Dicom); });
  ASSERT_TRUE(orthanc.awaitLog("takes !spin"));
  const Stopwatch watch;
  orthanc.finalize();
  EXPECT_LT(watch.elapsed(), seconds(8));
  EXPECT_EQ(spinning.outcome(), kLost);
}

TEST_F(HostTest, WhenOrthancStopsHangingRequestsEndAfterTheGrace) {
  start(R"({"callTimeoutMs": 60000})");
  InFlight<OrthancPluginErrorCode> hanging([this] { return orthanc.remove("!late"); });
  ASSERT_TRUE(orthanc.awaitLog("takes !late"));
  const Stopwatch watch;
  orthanc.change(OrthancPluginChangeType_OrthancStopped);
  EXPECT_EQ(hanging.outcome(), OrthancPluginErrorCode_Plugin);
  EXPECT_GE(watch.elapsed(), seconds(7));
  EXPECT_LT(watch.elapsed(), seconds(10));
  EXPECT_TRUE(orthanc.awaitLog("abandoned"));
  EXPECT_TRUE(orthanc.hasLogged("op=remove uuid=!late code=CLOSED failed: Orthanc is stopping"));
}

/** A call of Orthanc's REST API that does not end before it is let go. */
class HeldCall {
 public:
  explicit HeldCall(FakeOrthanc& orthanc) {
    orthanc.setRestApi([this](auto, const auto&, const auto&) -> FakeOrthanc::RestReply {
      ++calls_;
      while (!letGo_) {
        std::this_thread::sleep_for(milliseconds(1));
      }
      return {kSuccess, 200, "", "answered"};
    });
    asked_ = ask(orthanc);
    while (calls_ == 0) {
      std::this_thread::sleep_for(milliseconds(1));
    }
  }

  using Asked = std::unique_ptr<InFlight<std::string>>;
  static Asked ask(FakeOrthanc& orthanc) {
    return std::make_unique<InFlight<std::string>>(
        [&orthanc] { return orthanc.rest(kGet, "/object-storage/call").body; });
  }

  [[nodiscard]] int calls() const { return calls_; }
  [[nodiscard]] bool done() const { return asked_->done(); }
  std::string outcome() { return asked_->outcome(); }
  void letGo() { letGo_ = true; }

 private:
  std::atomic<int> calls_{0};
  std::atomic<bool> letGo_{false};
  Asked asked_;
};

TEST_F(HostTest, WhenOrthancStopsNoCallOfItBegins) {
  start();
  std::atomic<int> calls{0};
  orthanc.setRestApi([&](auto, const auto&, const auto&) -> FakeOrthanc::RestReply {
    ++calls;
    return {kSuccess, 200, "", ""};
  });
  orthanc.rest(kGet, "/object-storage/call");
  EXPECT_EQ(calls, 1);
  const Stopwatch watch;
  orthanc.change(OrthancPluginChangeType_OrthancStopped);
  EXPECT_LT(watch.elapsed(), milliseconds(500) * kSlowness);  // nothing is under way
  EXPECT_EQ(orthanc.rest(kGet, "/object-storage/call").body, "0 Orthanc is stopping");
  EXPECT_EQ(orthanc.rest(kGet, "/object-storage/submit", {}, "{}").body, "0 Orthanc is stopping");
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(orthanc.jobs(), 0U);
  orthanc.metrics();
  // A new runtime asks nothing either, and storage goes on.
  EXPECT_EQ(orthanc.remove("!exit"), kLost);
  expectServes();
  orthanc.stop();
}

TEST_F(HostTest, WhenOrthancStopsTheCallUnderWayIsWaitedForAndTheOthersAreDropped) {
  start();
  HeldCall held(orthanc);
  constexpr int kQueued = 3;
  std::vector<HeldCall::Asked> queued;
  queued.reserve(kQueued);
  for (int i = 0; i < kQueued; ++i) {
    queued.push_back(HeldCall::ask(orthanc));
  }
  std::this_thread::sleep_for(milliseconds(100));
  InFlight<bool> stopping([this] {
    orthanc.change(OrthancPluginChangeType_OrthancStopped);
    return true;
  });
  std::this_thread::sleep_for(milliseconds(300));
  EXPECT_FALSE(stopping.done());
  held.letGo();
  for (const HeldCall::Asked& one : queued) {
    EXPECT_EQ(one->outcome(), "0 Orthanc is stopping");
  }
  EXPECT_EQ(held.outcome(), "200 answered");
  stopping.outcome();
  EXPECT_EQ(held.calls(), 1);
  orthanc.stop();
}

TEST_F(HostTest, WhenACallDoesNotComeBackJobsAndClientsHoldOrthanc) {
  start();
  ASSERT_TRUE(orthanc.unserialize("MoveStorage", R"({"fails":true})"));
  HeldCall held(orthanc);
  const Stopwatch watch;
  orthanc.change(OrthancPluginChangeType_OrthancStopped);
  EXPECT_GE(watch.elapsed(), seconds(9));
  EXPECT_LT(watch.elapsed(), seconds(12) * kSlowness);
  EXPECT_TRUE(orthanc.hasLogged("Orthanc still works on a question of this plugin's"));
  InFlight<OrthancPluginJobStepStatus> step([this] { return orthanc.job().step(); });
  std::this_thread::sleep_for(milliseconds(500));
  EXPECT_FALSE(step.done());
  EXPECT_FALSE(held.done());
  held.letGo();
  EXPECT_EQ(step.outcome(), OrthancPluginJobStepStatus_Continue);
  held.outcome();
  orthanc.stop();
}

TEST_F(HostTest, WhenOrthancStopsAJobRestsAndNeverFails) {
  start();
  ASSERT_TRUE(orthanc.unserialize("MoveStorage", R"({"fails":true})"));
  EXPECT_EQ(orthanc.job().step(), OrthancPluginJobStepStatus_Continue);
  EXPECT_EQ(orthanc.job().step(), OrthancPluginJobStepStatus_Continue);
  orthanc.change(OrthancPluginChangeType_OrthancStopped);
  for (int i = 0; i < 3; ++i) {
    const Stopwatch watch;
    EXPECT_EQ(orthanc.job().step(), OrthancPluginJobStepStatus_Continue);
    EXPECT_GE(watch.elapsed(), milliseconds(200));
  }
  EXPECT_NE(orthanc.job().content().find("job-stop"), std::string::npos);
  // Nor does it where TypeScript is gone.
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(orthanc.remove("!exit"), kLost);
  }
  ASSERT_TRUE(orthanc.awaitLog("Storage is out of order"));
  EXPECT_EQ(orthanc.job().step(), OrthancPluginJobStepStatus_Continue);
  orthanc.stop();
}

TEST_F(HostTest, WhenOrthancStopsWhileManyCallIt) {
  for (int round = 0; round < 5; ++round) {
    start();
    std::atomic<bool> over{false};
    orthanc.setRestApi([](auto, const auto&, const auto&) -> FakeOrthanc::RestReply {
      std::this_thread::sleep_for(milliseconds(1));
      return {kSuccess, 200, "", ""};
    });
    std::vector<std::thread> clients;
    clients.reserve(6);
    for (int i = 0; i < 6; ++i) {
      clients.emplace_back([&, i] {
        while (!over) {
          orthanc.rest(kGet, i % 3 == 0 ? "/object-storage/submit" : "/object-storage/call", {},
                       "{}");
        }
      });
    }
    std::this_thread::sleep_for(milliseconds(50));
    orthanc.change(OrthancPluginChangeType_OrthancStopped);
    std::this_thread::sleep_for(milliseconds(20));
    over = true;  // as Orthanc, which waits for its clients first
    for (std::thread& client : clients) {
      client.join();
    }
    orthanc.stop();
  }
}

TEST_F(HostTest, WhatOrthancThrowsEndsNothing) {
  start();
  orthanc.setRestApi([](auto, const auto&, const auto&) -> FakeOrthanc::RestReply {
    return {kSuccess, 200, "", "fine"};
  });
  orthanc.throwAt(_OrthancPluginService_SetCurrentThreadName);
  EXPECT_EQ(orthanc.rest(kGet, "/object-storage/call").body, "200 fine");
  EXPECT_EQ(orthanc.remove("!exit"), kLost);  // a new loop has a name, too
  expectServes();
  orthanc.throwAt(_OrthancPluginService_CallRestApi);
  EXPECT_EQ(orthanc.rest(kGet, "/object-storage/call").body, "500 Orthanc error -1");
  for (const auto service : {_OrthancPluginService_CreateJob, _OrthancPluginService_SubmitJob}) {
    orthanc.throwAt(service);
    EXPECT_TRUE(orthanc.rest(kGet, "/object-storage/submit", {}, "{}").body.starts_with("500 "));
    EXPECT_EQ(orthanc.jobs(), 0U);
  }
  orthanc.throwAt(_OrthancPluginService_CreateMemoryBuffer64);
  ASSERT_EQ(orthanc.create("x", "abc"), kSuccess);
  EXPECT_NE(orthanc.readWhole("x").code, kSuccess);
  orthanc.throwAt(_OrthancPluginService_LogMessage);
  EXPECT_EQ(orthanc.remove("!exit"), kLost);
  expectServes();
  EXPECT_EQ(orthanc.rest(kGet, "/object-storage/log").status, 200);
  orthanc.stop();
}

// --- a guest in Orthanc's process

/** What belongs to the process and must stay as Orthanc has set it. */
std::string processState() {
  std::ostringstream state;
  for (int number = 1; number < NSIG; ++number) {
    struct sigaction action{};
    if (sigaction(number, nullptr, &action) == 0) {
      state << "signal " << number << " " << reinterpret_cast<const void*>(action.sa_handler) << " "
            << action.sa_flags << "\n";
    }
  }
  for (int resource = 0; resource < RLIMIT_NLIMITS; ++resource) {
    rlimit limit{};
    getrlimit(static_cast<__rlimit_resource_t>(resource), &limit);
    state << "limit " << resource << " " << limit.rlim_cur << " " << limit.rlim_max << "\n";
  }
  const mode_t mask = umask(0);
  umask(mask);
  state << "umask " << mask << "\ncwd " << std::filesystem::current_path() << "\n";
  for (const int descriptor : {0, 1, 2}) {
    struct stat found{};
    fstat(descriptor, &found);
    state << "stdio " << descriptor << " " << found.st_dev << " " << found.st_ino << " "
          << fcntl(descriptor, F_GETFL) << " " << fcntl(descriptor, F_GETFD) << "\n";
  }
  state << "locale " << std::setlocale(LC_ALL, nullptr) << "\n";  // NOLINT(concurrency-mt-unsafe)
  std::array<char, 16> name{};
  pthread_getname_np(pthread_self(), name.data(), name.size());
  state << "name " << name.data() << "\n";
  sigset_t blocked;
  pthread_sigmask(SIG_SETMASK, nullptr, &blocked);
  for (int number = 1; number < NSIG; ++number) {
    state << sigismember(&blocked, number);
  }
  return state.str();
}

TEST_F(HostTest, NothingOfTheProcessIsChanged) {
  const std::string before = processState();
  start();
  expectServes();
  EXPECT_EQ(orthanc.remove("!exit"), kLost);
  expectServes();
  EXPECT_EQ(processState(), before);
  orthanc.finalize();
  EXPECT_EQ(processState(), before);
}

TEST_F(HostTest, SignalsGoToOrthancsThreads) {
  std::set<std::filesystem::path> ours;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) {
    ours.insert(entry.path());
  }
  orthanc.setRestApi([](auto, const auto&, const auto&) -> FakeOrthanc::RestReply {
    return {kSuccess, 200, "", ""};
  });
  start();
  expectServes();
  orthanc.rest(kGet, "/object-storage/call");  // the thread for calls is there, too
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) {
    if (ours.contains(entry.path())) {
      continue;
    }
    std::ifstream status(entry.path() / "status");
    std::string word;
    std::string name;
    while (status >> word && word != "SigBlk:") {
      if (word == "Name:") {
        status >> name;
      }
    }
    names.insert(name);
    uint64_t blocked = 0;
    status >> std::hex >> blocked;
    for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE, SIGUSR1, SIGCHLD}) {
      EXPECT_TRUE((blocked >> (number - 1) & 1) != 0) << name << " takes signal " << number;
    }
  }
  for (const char* ourName : {"STORAGE-WATCH", "STORAGE-LOOP", "STORAGE-CALLS"}) {
    EXPECT_TRUE(names.contains(ourName)) << ourName;
  }
}

#if !defined(__SANITIZE_ADDRESS__)  // which keeps what was freed
/** What this process has in memory. */
size_t residentBytes() {
  std::ifstream statm("/proc/self/statm");
  size_t pages = 0;
  statm >> pages >> pages;
  return pages * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

TEST_F(HostTest, MemoryStaysFlatOverResets) {
  const auto resetTimes = [this](int times) {
    for (int i = 0; i < times; ++i) {
      start();
      expectServes();
      orthanc.finalize();
    }
    return residentBytes();
  };
  // An environment that stays costs 5 MB or more.
  const size_t before = resetTimes(5);
  EXPECT_LT(resetTimes(15), before + (size_t{30} << 20));
}
#endif

}  // namespace
}  // namespace cloudstore
