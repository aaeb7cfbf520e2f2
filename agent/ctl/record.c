#include "agent/ctl/record.h"

#include <string.h>

#include "proto/util.h"

char *record_details(const json_t *record, bool with_plan)
{
    struct buf b = {0};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)record, key, value)
    {
        if (strcmp(key, "event") == 0 || (!with_plan && strcmp(key, "plan") == 0) ||
            strcmp(key, "at") == 0 || strcmp(key, "host") == 0 || json_is_null(value) ||
            (json_is_string(value) && json_string_length(value) == 0))
            continue;
        _cleanup_(freep) char *text = json_is_string(value)
                                          ? xstrdup(json_string_value(value))
                                          : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        buf_addf(&b, "%s%s=%s", b.len > 0 ? " " : "", key, text);
    }
    return buf_take(&b);
}
