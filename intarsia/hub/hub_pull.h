// Models of the hub: chooses files, fetches what is missing, several at a time,
// and makes them appear together.
#pragma once

#include "intarsia/hub/pull.h"
#include "intarsia/hub/reference.h"

namespace intarsia {

// PlanPull and Pull of a reference to the hub.
Result<PullPlan> PlanHubPull(const HubReference& reference,
                             const PullOptions& options);
Result<PulledModel> PullFromHub(const HubReference& reference,
                                const PullOptions& options);

}  // namespace intarsia
