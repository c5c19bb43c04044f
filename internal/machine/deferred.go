package machine

// DeferReads makes Apply leave the keys out of the results of transactions whose ranges have more
// than some bytes, above 0: the caller must call BeginDeferred for each result. It is called before
// the first entry is applied.
func (m *Machine) DeferReads(above int) { m.deferAbove = above }

// BeginDeferred returns nil if a result is complete, and else a function that reads what it lacks,
// which any goroutine must call, once: no compaction is applied, and no snapshot installed, before
// it has returned. Only the applier calls BeginDeferred, before the next Apply.
func (m *Machine) BeginDeferred(r *Result) (read func() error) {
	if r.Err != nil || !r.Txn.Deferred() {
		return nil
	}
	m.deferred.Add(1)
	return func() error {
		defer m.deferred.Done()
		return m.keys.ReadDeferred(&r.Txn)
	}
}

// removesHistory reports whether a command, which may be one with an actor, may remove versions
// that a deferred read needs.
func removesHistory(kind Kind, payload []byte) bool {
	if _, err := unwrapActor(&kind, &payload); err != nil {
		return false
	}
	return kind == KindCompact || kind == KindAutoCompact || kind == KindMigrate
}
