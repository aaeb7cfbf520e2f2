#include "agent/ctl/vm_find.h"

#include "agent/ctl/text.h"
#include "proto/util.h"

int vm_find(const json_t *list, const char *word, const json_t **ret, struct err *err)
{
    size_t i, n = 0;
    const json_t *vm;
    _cleanup_(buf_done) struct buf uuids = {0};
    json_array_foreach(list, i, vm)
    {
        const char *uuid = text_or(vm, "uuid", "");
        if (strcmp(uuid, word) != 0 && strcmp(text_or(vm, "name", ""), word) != 0)
            continue;
        *ret = vm;
        n++;
        buf_addf(&uuids, " %s", uuid);
    }
    if (n == 0)
        return err_set(err, ERR_NOT_FOUND, "there is no VM \"%.64s\"; try: skein vms", word);
    if (n > 1)
        return err_set(err, ERR_CONFLICT, "%zu VMs are called %.64s; say which UUID:%s", n, word,
                       uuids.data);
    return 0;
}
