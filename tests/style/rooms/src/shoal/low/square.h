#pragma once  // refused
#include "shoal/low/circle.h"
