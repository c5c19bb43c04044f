package mvcc

// Pauser is implemented by a Sink whose caller may give up.
type Pauser interface {
	// Pause is called now and then by a walk, also over records that are not given to the sink. Its
	// error ends the walk, and is what the read returns.
	Pause() error
}

// PauserAt is a Pauser that needs to know where it ends a walk, so that a later one continues
// there. Only a Reading's walks call PauseAt; it takes the place of Pause.
type PauserAt interface {
	Pauser
	// PauseAt has the key that the walk is at, also one that has been deleted. It is valid during
	// the call.
	PauseAt(key []byte) error
}

// pauseOf returns what a read into a sink calls now and then.
func pauseOf(sink Sink) func() error {
	if p, ok := sink.(Pauser); ok {
		return p.Pause
	}
	return nil
}

// pacer counts what a walk has read until it is time for a pause.
type pacer struct {
	pause func() error
	left  int
}

const (
	// pauseBytes is how much a walk reads between two pauses: some 0.1 ms.
	pauseBytes = 256 << 10
	// stepBytes is what each record counts for besides its bytes.
	stepBytes = 1 << 10
)

func newPacer(pause func() error) pacer { return pacer{pause: pause, left: pauseBytes} }

// step is called for each record that is read.
func (p *pacer) step(bytes int) error {
	if p.pause == nil {
		return nil
	}
	if p.left -= stepBytes + bytes; p.left > 0 {
		return nil
	}
	p.left = pauseBytes
	return p.pause()
}
