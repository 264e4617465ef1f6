// What the C library's handles point to.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "include/intarsia/intarsia.h"
#include "intarsia/core/device.h"
#include "intarsia/engine/answer.h"
#include "intarsia/families/open.h"

namespace intarsia::c_api {

// Shared by the model's handle and its sessions; not changed once made.
struct SharedModel {
  OpenedModel opened;
  Device device;
  std::string warnings;  // a line each
};

}  // namespace intarsia::c_api

struct intarsia_model {
  std::shared_ptr<const intarsia::c_api::SharedModel> shared;
};

struct intarsia_session {
  intarsia_session(std::shared_ptr<const intarsia::c_api::SharedModel> model,
                   const intarsia::ModelRunner::Options& options)
      : shared(std::move(model)), runner(shared->opened.model(), options) {}

  std::shared_ptr<const intarsia::c_api::SharedModel> shared;
  intarsia::ModelRunner runner;
  std::atomic<bool> busy = false;
};
