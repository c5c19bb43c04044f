package check

// checkLeases checks that no lease, key or directory exists at the end of the history although its
// TTL ended long before. Early expiry is detected where an expiry is placed (linearizer.ended).
func checkLeases(h *History, o Options, res *Result) {
	if o.LeaseGrace == 0 || len(res.Violations) > 0 {
		return
	}
	end := int64(0)
	for i := range h.Operations {
		if op := &h.Operations[i]; op.Known() {
			end = max(end, op.Return)
		}
	}
	s := res.States[len(res.States)-1]
	s.leases.walk("", func(name string, g life) bool {
		if late, keys := g.overdue(end, o), s.attached(leaseID(name)); len(keys) > 0 && late > 0 {
			res.add("lease-late", "lease %s should have expired %d ns before the end, and its key %v still exists", name, late, keys[0].KV)
		}
		return true
	})
	s.keys.walk("", func(key string, r record) bool {
		if late := r.overdue(end, o); late > 0 {
			res.add("lease-late", "key %s should have expired %d ns before the end, and still exists", key, late)
		}
		return true
	})
	s.dirs.walk("", func(path string, d directory) bool {
		if late := d.overdue(end, o); late > 0 {
			res.add("lease-late", "directory %s should have expired %d ns before the end, and still exists", path, late)
		}
		return true
	})
}
