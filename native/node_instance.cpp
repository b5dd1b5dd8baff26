// SPDX-License-Identifier: GPL-3.0-or-later
#include "node_instance.h"

#include <node.h>

#include <csignal>
#include <cstdlib>
#include <stdexcept>
#include <string_view>
#include <utility>
#include <vector>

#include "binding.h"
#include "lanes.h"
#include "node_process.h"

// bundle.S has build/bundle/plugin.parts, pure ASCII: the loader (src/plugin/loader.ts), a zero,
// and what the loader loads.
extern "C" const char cloudstoreBundleStart[];  // NOLINT(modernize-avoid-c-arrays)
extern "C" const char cloudstoreBundleEnd[];    // NOLINT(modernize-avoid-c-arrays)

namespace cloudstore {
namespace {

thread_local NodeInstance* currentInstance = nullptr;

// Bytes by which a full heap may still grow while its environment is being ended, and how often:
// Node 24's optimised loops of nothing but built-ins can't be interrupted, and must not take the
// memory of the whole machine.
constexpr size_t kHeapReserve = size_t{128} << 20;
constexpr int kMaxHeapReserves = 8;

std::string_view embeddedLoader() { return cloudstoreBundleStart; }

std::string_view embeddedParts() {
  const char* const start = cloudstoreBundleStart + embeddedLoader().size() + 1;
  return {start, static_cast<size_t>(cloudstoreBundleEnd - start)};
}

/** Handed to V8 where they lie, in the library's read-only pages. */
class EmbeddedParts final : public v8::String::ExternalOneByteStringResource {
 public:
  [[nodiscard]] const char* data() const override { return embeddedParts().data(); }
  [[nodiscard]] size_t length() const override { return embeddedParts().size(); }
};

v8::Local<v8::String> partsOf(v8::Isolate* isolate) {
  v8::Local<v8::String> parts;
  // V8 deletes the resource together with the string.
  auto resource = std::make_unique<EmbeddedParts>();
  if (!v8::String::NewExternalOneByte(isolate, resource.get()).ToLocal(&parts)) {
    throw std::runtime_error("no memory for the bundle");
  }
  static_cast<void>(resource.release());  // NOLINT(bugprone-unused-return-value)
  return parts;  // NOLINT(clang-analyzer-cplusplus.NewDeleteLeaks): V8 owns it
}

std::string bundleOverride() {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): nobody sets it
  const char* path = std::getenv("ORTHANC_OBJECT_STORAGE_BUNDLE");
  return path == nullptr ? "" : path;
}

/** For `npm run bench:profile`. An inspector costs memory and time, so that nobody else gets one.
 * thread: the loop's, before it has an environment */
node::EnvironmentFlags::Flags inspectorFlag() {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): nobody sets it
  if (std::getenv("ORTHANC_OBJECT_STORAGE_INSPECTOR") == nullptr) {
    return node::EnvironmentFlags::kNoCreateInspector;
  }
  // V8 takes its samples by this signal, which SignalShield keeps away.
  sigset_t sampling;
  sigemptyset(&sampling);
  sigaddset(&sampling, SIGPROF);
  pthread_sigmask(SIG_UNBLOCK, &sampling, nullptr);
  return node::EnvironmentFlags::kNoFlags;
}

std::string joined(const std::vector<std::string>& lines) {
  std::string all;
  for (const std::string& line : lines) {
    all += (all.empty() ? "" : "; ") + line;
  }
  return all;
}

}  // namespace

/** The handle goes with the loop, the object stays as long as somebody holds it. */
class NodeInstance::LoopWakeup {
 public:
  void open(uv_async_t* async) {
    const std::lock_guard<std::mutex> lock(mutex_);
    async_ = async;
  }

  void send() {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (async_ != nullptr) {
      uv_async_send(async_);
    }
  }

  void close() {
    const std::lock_guard<std::mutex> lock(mutex_);
    async_ = nullptr;
  }

 private:
  std::mutex mutex_;
  uv_async_t* async_ = nullptr;  // until the loop has it, and once it has gone
};

NodeInstance* NodeInstance::current() { return currentInstance; }

NodeInstance::NodeInstance(Lanes& lanes, Lane& lane, bool restarted)
    : lanes_(lanes),
      lane_(lane),
      restarted_(restarted),
      bundleOverride_(bundleOverride()),
      bundlePath_(bundleOverride_.empty() ? libraryFile().string() : bundleOverride_),
      wakeup_(std::make_shared<LoopWakeup>()) {}

NodeInstance::~NodeInstance() = default;

void NodeInstance::stop() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopRequested_ = true;
  }
  wakeup_->send();
}

void NodeInstance::terminate(const std::string& reason) {
  setEndReason(reason);
  const std::lock_guard<std::mutex> lock(mutex_);
  terminated_ = true;
  if (environment_ != nullptr) {
    // Ends the loop, and whatever JavaScript runs on its thread.
    node::Stop(environment_);
  }
}

void NodeInstance::setEndReason(const std::string& reason) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (endReason_.empty()) {
    endReason_ = reason;
  }
}

std::string NodeInstance::endReason() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return endReason_.empty() ? "its event loop had nothing left to do" : endReason_;
}

void NodeInstance::bind(Binding* binding) {
  binding_ = binding;
  // Whoever asked before was not heard.
  wakeup_->send();
}

void NodeInstance::serve() {
  lane_.bridge.attach([wakeup = wakeup_] { wakeup->send(); });
}

void NodeInstance::release() { uv_unref(reinterpret_cast<uv_handle_t*>(&async_)); }

void NodeInstance::deliver() {
  if (binding_ == nullptr) {
    return;
  }
  bool stopRequested = false;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopRequested = std::exchange(stopRequested_, false);
  }
  binding_->deliver(stopRequested);
}

size_t NodeInstance::onNearHeapLimit(void* instance, size_t limit, size_t /*initialLimit*/) {
  // V8 is about to abort the process, that is Orthanc. Ending the environment needs some memory
  // first, and JavaScript goes on until it reaches a point where it can be interrupted.
  auto* self = static_cast<NodeInstance*>(instance);
  self->terminate("JavaScript's memory is full");
  return ++self->heapReserves_ <= kMaxHeapReserves ? limit + kHeapReserve : limit;
}

std::string NodeInstance::run() {
  currentInstance = this;
  const OrthancContext& orthanc = lanes_.orthanc();
  orthanc.nameThread("STORAGE-LOOP");
  if (!bundleOverride_.empty()) {
    orthanc.log(OrthancPluginLogLevel_Warning, "ORTHANC_OBJECT_STORAGE_BUNDLE: " + bundleOverride_ +
                                                   " runs instead of the plugin's own TypeScript");
  }
  try {
    // Without kDefaultFlags, since the process is Orthanc's: no chdir, umask, setuid. No SIGUSR1
    // either.
    // NOLINTNEXTLINE(clang-analyzer-optin.core.EnumCastOutOfRange): flags of one bit each
    const auto flags = static_cast<node::EnvironmentFlags::Flags>(
        node::EnvironmentFlags::kNoNativeAddons | node::EnvironmentFlags::kNoGlobalSearchPaths |
        inspectorFlag() | node::EnvironmentFlags::kNoStartDebugSignalHandler);
    const NodeProcess& process = NodeProcess::instance();
    std::vector<std::string> errors;
    const std::unique_ptr<node::CommonEnvironmentSetup> setup =
        node::CommonEnvironmentSetup::Create(process.platform(), &errors,
                                             process.initialization().args(),
                                             process.initialization().exec_args(), flags);
    if (setup == nullptr) {
      throw std::runtime_error("Node's environment can't be made: " + joined(errors));
    }
    live(*setup);
  } catch (const std::exception& error) {
    setEndReason(error.what());
    lane_.supervisor.onRefused(error.what());
  }
  currentInstance = nullptr;
  return endReason();
}

void NodeInstance::live(node::CommonEnvironmentSetup& setup) {
  v8::Isolate* isolate = setup.isolate();
  node::Environment* environment = setup.env();
  const v8::Locker locker(isolate);
  const v8::Isolate::Scope isolateScope(isolate);
  const v8::HandleScope handleScope(isolate);
  const v8::Local<v8::Context> context = setup.context();
  const v8::Context::Scope contextScope(context);
  isolate->AddNearHeapLimitCallback(onNearHeapLimit, this);
  v8::Local<v8::Value> parts = v8::Undefined(isolate);
  if (bundleOverride_.empty()) {
    parts = partsOf(isolate);
  }

  // Node does this for its own loops alone; performance.eventLoopUtilization() goes by it.
  uv_loop_configure(setup.event_loop(), UV_METRICS_IDLE_TIME);

  // From here on nothing throws: the handle must be closed before the environment ends.
  uv_async_init(setup.event_loop(), &async_,
                [](uv_async_t* async) { static_cast<NodeInstance*>(async->data)->deliver(); });
  async_.data = this;
  wakeup_->open(&async_);

  node::AddLinkedBinding(environment, "orthanc_object_storage", initializeBinding, NAPI_VERSION);
  node::SetProcessExitHandler(environment, [this](node::Environment* exiting, int code) {
    setEndReason("process.exit(" + std::to_string(code) + ")");
    node::Stop(exiting);
  });
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    environment_ = environment;
    if (terminated_) {
      node::Stop(environment);
    }
  }

  const bool prepared =
      context->Global()
          ->Set(context, v8::String::NewFromUtf8Literal(isolate, "__bundleParts"), parts)
          .FromMaybe(false);
  if (prepared && !node::LoadEnvironment(environment, embeddedLoader()).IsEmpty()) {
    static_cast<void>(node::SpinEventLoop(environment));
  }

  // Those who wait learn it now; ending the environment may take a moment.
  lane_.bridge.detach("the storage runtime ended: " + endReason());
  binding_ = nullptr;
  wakeup_->close();
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    environment_ = nullptr;
  }
  isolate->CancelTerminateExecution();
  bool closed = false;
  async_.data = &closed;
  uv_close(reinterpret_cast<uv_handle_t*>(&async_),
           [](uv_handle_t* handle) { *static_cast<bool*>(handle->data) = true; });
  while (!closed) {
    uv_run(setup.event_loop(), UV_RUN_NOWAIT);
  }
  node::Stop(environment);
}

}  // namespace cloudstore
