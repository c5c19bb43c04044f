package check

// checkLeases checks that what has a TTL was gone in time: what lives on at the end of the history
// though it was over long before. That nothing ends early is checked where its end is found
// (linearizer.ended).
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
			res.add("lease-late", "lease %s ought to have ended %d ns before the end, and its key %v is still there", name, late, keys[0].KV)
		}
		return true
	})
	s.keys.walk("", func(key string, r record) bool {
		if late := r.overdue(end, o); late > 0 {
			res.add("lease-late", "key %s ought to have ended %d ns before the end, and is still there", key, late)
		}
		return true
	})
	s.dirs.walk("", func(path string, d directory) bool {
		if late := d.overdue(end, o); late > 0 {
			res.add("lease-late", "directory %s ought to have ended %d ns before the end, and is still there", path, late)
		}
		return true
	})
}
