/* report_month.h - statistics of a month's plans, from their reports. Pure. */
#ifndef SKEIN_AGENT_CTL_REPORT_MONTH_H
#define SKEIN_AGENT_CTL_REPORT_MONTH_H

#include <jansson.h>
#include <stdbool.h>

/* "2026-11"? */
bool report_month_ok(const char *month);
/* Was this plan of a list begun, or else made, in that month (UTC)? */
bool report_month_has(const char *month, const json_t *plan);

/* reports: of the month's plans. {month, plans, states: {STATE: n}, classes: {CLASS: n}, moves,
 * outcomes: {STATE: n}, failures: {KIND: n}, success_pct, transferred_mib, duration_ms: {median,
 * longest}, downtime_ms: {median, longest}, prediction_error_pct: median of |measured - predicted|
 * over measured durations}; what nobody measured is null. A new reference. */
json_t *report_month(const char *month, const json_t *reports);

#endif
