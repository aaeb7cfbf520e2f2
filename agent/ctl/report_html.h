/* report_html.h - a plan's report as one HTML page that loads nothing from anywhere. */
#ifndef SKEIN_AGENT_CTL_REPORT_HTML_H
#define SKEIN_AGENT_CTL_REPORT_HTML_H

#include <jansson.h>
#include <stdio.h>

void report_html(FILE *to, const json_t *report); /* tidy: see text.h */

#endif
