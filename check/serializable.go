package check

// checkSerializable checks the reads that any member may serve from its own state: each has to see
// the state after some prefix of the order, and not a later one than was reached by its Return.
func checkSerializable(h *History, res *Result) {
	made := map[int64]*Operation{} // the request that moved to a revision
	for i := range h.Operations {
		o := &h.Operations[i]
		if o.Known() && effectOf(o) == writes {
			made[o.Response.Revision] = o
		}
	}
	for i := range h.Operations {
		o := &h.Operations[i]
		if !o.Known() || !serializable(&o.Request) || o.Response.Revision == 0 {
			continue
		}
		rev := o.Response.Revision
		switch {
		case rev > int64(len(res.States)):
			continue // not explained, which is reported elsewhere
		case made[rev] != nil && made[rev].Call > o.Return:
			res.add("serializable", "%v saw what %v made later", o, made[rev])
			continue
		}
		// Permissions, and the compact revision, may have changed without the revision; the keys
		// cannot.
		s := *res.States[rev-1]
		s.auth = &authState{}
		if r := o.Request.Range; r == nil || r.Revision == 0 || o.Response.Err == "" {
			s.Compacted = 0
		}
		if _, want, _ := Step(&s, o.Request, o.Call, o.Return); !sameResponse(&want, &o.Response) {
			res.add("serializable", "%v: revision %d would be answered %v", o, rev, want)
		}
	}
}
