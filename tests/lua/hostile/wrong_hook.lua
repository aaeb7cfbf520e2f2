-- expect: wrong_hook.lua:4: unknown hook 'filtr'; did you mean 'filter'?
local P = policy { name = "wrong", api = 1 }
function P.trigger(c) return true end
function P.filtr(c, vm, host) end
return P
