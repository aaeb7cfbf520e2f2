-- expect: once|second|twice|declared
-- lua_ms: 150
policy { name = "hostile", api = 1 }
policy { name = "hostile2", api = 1 }
