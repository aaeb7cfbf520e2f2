-- expect: hooks are set while the file is read
local P = policy { name = "hostile", api = 1 }
function P.score(c, vm, host) return 50 end
function P.trigger(c)
    P.filter = function() end
    return true
end
return P
