#include "planner/core/random.h"

/* splitmix64, as the authors advise for seeding. */
void random_seed(struct random *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        uint64_t z = seed += 0x9E3779B97F4A7C15U;
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9U;
        z = (z ^ z >> 27) * 0x94D049BB133111EBU;
        r->s[i] = z ^ z >> 31;
    }
}

#define LN2 0.69314718055994530942

/* ln x = ln m + e ln 2 with m in [2/3, 4/3), by the series of artanh. */
static double natural_log(double x)
{
    int e = 0;
    for (; x >= 4.0 / 3; e++)
        x /= 2;
    for (; x < 2.0 / 3; e--)
        x *= 2;
    double y = (x - 1) / (x + 1), yy = y * y, term = y, sum = 0;
    for (int k = 1; k < 16; k += 2) {
        sum += term / k;
        term *= yy;
    }
    return 2 * sum + e * LN2;
}

static double exponential_function(double x)
{
    int halvings = 0;
    for (; x > 0.5 || x < -0.5; halvings++)
        x /= 2;
    double term = 1, sum = 1;
    for (int k = 1; k < 14; k++) {
        term *= x / k;
        sum += term;
    }
    for (; halvings > 0; halvings--)
        sum *= sum;
    return sum;
}

double random_exponential_at(double u)
{
    return -natural_log(u);
}

double random_power(double base, double exponent)
{
    return exponential_function(natural_log(base) * exponent);
}
