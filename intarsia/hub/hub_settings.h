// Where the hub is and who asks, by the variables that its users know:
// HF_ENDPOINT, HF_TOKEN, HF_TOKEN_PATH, HF_HOME, HF_HUB_OFFLINE,
// HF_HUB_DISABLE_IMPLICIT_TOKEN
// (https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables).
#pragma once

#include <string>

#include "intarsia/hub/http.h"
#include "intarsia/hub/pip_config.h"

namespace intarsia {

struct HubSettings {
  std::string endpoint = "https://huggingface.co";  // without a '/' at the end
  bool offline = false;
  // A token is there, but is not sent: the endpoint is neither https nor this
  // machine.
  bool token_withheld = false;
  // With the token, that is never printed; `netrc` off.
  HttpAccess access = {.netrc = false, .stay_secure = true};
};

// `get` gives an environment variable or "". A token with spaces or control
// characters in it is none.
HubSettings ReadHubSettings(const GetVariable& get);
HubSettings ReadHubSettings();  // of this process

}  // namespace intarsia
