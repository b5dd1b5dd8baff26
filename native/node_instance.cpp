// SPDX-License-Identifier: GPL-3.0-or-later
#include "node_instance.h"

#include <node.h>

#include <cstdlib>
#include <stdexcept>
#include <string_view>
#include <utility>
#include <vector>

#include "binding.h"
#include "bundle.h"
#include "library_file.h"
#include "node_process.h"
#include "signal_shield.h"

namespace cloudstore {
namespace {

thread_local NodeInstance* currentInstance = nullptr;

// Bytes by which a full heap may still grow while its environment is being ended, and how often:
// Node 24's optimised loops of nothing but built-ins can't be interrupted, and must not take the
// memory of the whole machine.
constexpr size_t kHeapReserve = size_t{128} << 20;
constexpr int kMaxHeapReserves = 8;

// Loads the bundle: CommonJS modules that require each other, joined by scripts/bundle.mjs
// (joinParts), each compiled when it is first required. An error while they load must reach
// Orthanc's log, not the standard error; likewise one that nobody catches, where TypeScript does
// not listen.
constexpr std::string_view kBootstrap = R"js(
const binding = process._linkedBinding('orthanc_object_storage');
process.on('uncaughtException', (error) => {
  if (process.listenerCount('uncaughtException') > 1) return;
  binding.ending(`uncaught exception: ${error?.stack ?? error}`);
  process.exit(1);
});
function loadEmbedded(source) {
  const requireOfNode = require('node:module').createRequire(binding.bundlePath);
  const { compileFunction } = require('node:vm');
  const indexEnd = source.indexOf('\n');
  const extents = new Map();
  let start = indexEnd + 1;
  for (const [name, length] of JSON.parse(source.slice(0, indexEnd))) {
    extents.set(`./${name}`, [start, start += length]);
  }
  const modules = new Map();
  const requirePart = (id) => {
    const extent = extents.get(id);
    if (extent === undefined) return requireOfNode(id);
    let module = modules.get(id);
    if (module === undefined) {
      module = { exports: {} };
      modules.set(id, module);
      const filename = `${binding.bundlePath}/${id.slice(2)}`;
      compileFunction(source.slice(...extent), ['exports', 'require', 'module', '__filename', '__dirname'], { filename })(
        module.exports, requirePart, module, filename, binding.bundlePath);
    }
    return module.exports;
  };
  return requirePart('./plugin.cjs');
}
function loadFile(path) {
  const absolute = require('node:path').resolve(path);
  return require('node:module').createRequire(absolute)(absolute);
}
try {
  const source = globalThis.__bundleSource;
  delete globalThis.__bundleSource;
  (source === undefined ? loadFile(binding.bundlePath) : loadEmbedded(source)).main(binding);
} catch (error) {
  binding.refuse(`The plugin's TypeScript does not load: ${error?.stack ?? error}`);
}
)js";

/** The embedded bundle, handed to V8 where it lies, in the library's read-only pages. */
class EmbeddedSource final : public v8::String::ExternalOneByteStringResource {
 public:
  [[nodiscard]] const char* data() const override { return embeddedBundle().data(); }
  [[nodiscard]] size_t length() const override { return embeddedBundle().size(); }
};

v8::Local<v8::String> embeddedSource(v8::Isolate* isolate) {
  v8::Local<v8::String> source;
  // V8 deletes the resource together with the string.
  auto resource = std::make_unique<EmbeddedSource>();
  if (!v8::String::NewExternalOneByte(isolate, resource.get()).ToLocal(&source)) {
    throw std::runtime_error("no memory for the bundle");
  }
  static_cast<void>(resource.release());  // NOLINT(bugprone-unused-return-value)
  return source;  // NOLINT(clang-analyzer-cplusplus.NewDeleteLeaks): V8 owns it
}

std::string bundleOverride() {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): nobody sets it
  const char* path = std::getenv("ORTHANC_OBJECT_STORAGE_BUNDLE");
  return path == nullptr ? "" : path;
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
class NodeInstance::LoopWakeup final : public Wakeup {
 public:
  void open(uv_async_t* async) {
    const std::lock_guard<std::mutex> lock(mutex_);
    async_ = async;
  }

  void send() override {
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

NodeInstance::NodeInstance(const Surroundings& surroundings)
    : surroundings_(surroundings), wakeup_(std::make_shared<LoopWakeup>()) {
  const SignalShield shield;
  thread_ = std::thread([this] { run(); });
}

NodeInstance::~NodeInstance() { thread_.join(); }

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

void NodeInstance::serve() { surroundings_.bridge.attach(wakeup_); }

void NodeInstance::release() { uv_unref(reinterpret_cast<uv_handle_t*>(&async_)); }

size_t NodeInstance::onNearHeapLimit(void* instance, size_t limit, size_t /*initialLimit*/) {
  // V8 is about to abort the process, that is Orthanc. Ending the environment needs some memory
  // first, and JavaScript goes on until it reaches a point where it can be interrupted.
  auto* self = static_cast<NodeInstance*>(instance);
  self->terminate("JavaScript's memory is full");
  return ++self->heapReserves_ <= kMaxHeapReserves ? limit + kHeapReserve : limit;
}

void NodeInstance::run() {
  currentInstance = this;
  surroundings_.orthanc.nameThread("STORAGE-LOOP");
  std::vector<std::string> errors;
  std::unique_ptr<node::CommonEnvironmentSetup> setup;
  try {
    // Without kDefaultFlags, since the process is Orthanc's: no chdir, umask, setuid. No inspector,
    // no SIGUSR1 either.
    // NOLINTNEXTLINE(clang-analyzer-optin.core.EnumCastOutOfRange): flags of one bit each
    const auto flags = static_cast<node::EnvironmentFlags::Flags>(
        node::EnvironmentFlags::kNoNativeAddons | node::EnvironmentFlags::kNoGlobalSearchPaths |
        node::EnvironmentFlags::kNoCreateInspector |
        node::EnvironmentFlags::kNoStartDebugSignalHandler);
    setup = node::CommonEnvironmentSetup::Create(surroundings_.process.platform(), &errors,
                                                 surroundings_.process.arguments(),
                                                 surroundings_.process.execArguments(), flags);
    if (setup == nullptr) {
      throw std::runtime_error("Node's environment can't be made: " + joined(errors));
    }
    live(*setup);
    setup.reset();
  } catch (const std::exception& error) {
    setEndReason(error.what());
    surroundings_.events.onRefused(error.what());
  }
  surroundings_.events.onEnded(endReason());
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

  const std::string overridePath = bundleOverride();
  bundlePath_ = overridePath.empty() ? libraryFile().string() : overridePath;
  if (!overridePath.empty()) {
    surroundings_.orthanc.log(LogLevel::kWarning,
                              "ORTHANC_OBJECT_STORAGE_BUNDLE: " + overridePath +
                                  " runs instead of the plugin's own TypeScript");
  }
  v8::Local<v8::Value> source = v8::Undefined(isolate);
  if (overridePath.empty()) {
    source = embeddedSource(isolate);
  }

  // From here on nothing throws: the handle must be closed before the environment ends.
  uv_async_init(setup.event_loop(), &async_, [](uv_async_t* async) {
    auto* self = static_cast<NodeInstance*>(async->data);
    if (self->binding_ == nullptr) {
      return;
    }
    bool stopRequested = false;
    {
      const std::lock_guard<std::mutex> lock(self->mutex_);
      stopRequested = std::exchange(self->stopRequested_, false);
    }
    self->binding_->deliver(stopRequested);
  });
  async_.data = this;
  wakeup_->open(&async_);

  node::AddLinkedBinding(environment, bindingModule());
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
          ->Set(context, v8::String::NewFromUtf8Literal(isolate, "__bundleSource"), source)
          .FromMaybe(false);
  if (prepared && !node::LoadEnvironment(environment, kBootstrap).IsEmpty()) {
    static_cast<void>(node::SpinEventLoop(environment));
  }

  // Those who wait learn it now; ending the environment may take a moment.
  surroundings_.bridge.detach("the storage runtime ended: " + endReason());
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
