package simnode

import "time"

// Op is a set of operations.
type Op uint8

// The operations a fault can meet.
const (
	Get Op = 1 << iota
	Set
	Del
	Exists
	Space
	Ping
	Any = Get | Set | Del | Exists | Space | Ping
)

// Kind is what goes wrong.
type Kind uint8

// The kinds of faults. Those that change a value are for Get; on other operations
// they do nothing.
const (
	Down      Kind = iota + 1 // fails at once with zdb.ErrUnavailable
	Hang                      // answers only when the context ends
	Delay                     // answers after Fault.Delay
	Error                     // fails at once with Fault.Err
	Full                      // Set fails with zdb.ErrNoSpace
	LostWrite                 // Set is acknowledged and forgotten
	LostAck                   // Set and Del are done, but fail as if the connection broke
	Vanish                    // the key is not found
	FlipBit                   // one bit of the value is flipped
	Truncate                  // the value is cut short
	Extend                    // the value has bytes behind it
	Swap                      // another key's value is given
	Stale                     // the first value that the key ever had is given
	Forge                     // random bytes of the right length are given
)

var kindNames = [...]string{"none", "down", "hang", "delay", "error", "full", "lost-write", "lost-ack", "vanish", "flip-bit", "truncate", "extend", "swap", "stale", "forge"}

// String returns the name of the kind.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// Lies are the kinds that give a wrong value for a right one.
var Lies = []Kind{Vanish, FlipBit, Truncate, Extend, Swap, Stale, Forge}

// Fault is one thing that goes wrong.
type Fault struct {
	Kind        Kind
	Op          Op                    // operations it meets; 0 means Any
	Probability float64               // of meeting a request; 0 means always
	Times       int                   // how many requests it meets before it is over; 0 means no end
	Key         func(key []byte) bool // requests it meets; nil means all. Not asked for Space and Ping
	Delay       time.Duration         // of Kind Delay
	Err         error                 // of Kind Error
}

// Counts is how many requests a node has seen, faulty ones included.
type Counts struct {
	Gets, Sets, Dels, Exists, Spaces, Pings int
	Faults                                  int // requests that met a fault
	InFlight                                int // requests not yet answered
	GetBytes, SetBytes                      int64
}
