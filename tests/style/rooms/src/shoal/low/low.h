#pragma once
#include <vector>

#include "shoal/low/other.h"
#include "shoal/proto/records.pb.h"
#include "shoal/high/high.h"  // refused
#include "other.h"            // refused
#include <ATen/ops/add.h>     // refused
#include "shoal/nowhere/x.h"  // refused
