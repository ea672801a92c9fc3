#pragma once  // refused
#include "shoal/low/square.h"
