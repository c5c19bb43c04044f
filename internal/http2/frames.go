package http2

import "encoding/binary"

// Frame layout, flags, settings and error codes of RFC 9113 (sections 4, 6, 7).
const (
	frameHeaderLen = 9

	// ClientPreface is the start of every HTTP/2 connection (RFC 9113, 3.4). No HTTP/1 request
	// begins with it.
	ClientPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

	// frameLenMax is the largest payload that the server accepts, and that peers accept unless
	// their SETTINGS allow more.
	frameLenMax = 16384

	defaultWindow = 65535
	windowMax     = 1<<31 - 1
)

type frameType uint8

const (
	frameData         frameType = 0x0
	frameHeaders      frameType = 0x1
	framePriority     frameType = 0x2
	frameRSTStream    frameType = 0x3
	frameSettings     frameType = 0x4
	framePushPromise  frameType = 0x5
	framePing         frameType = 0x6
	frameGoAway       frameType = 0x7
	frameWindowUpdate frameType = 0x8
	frameContinuation frameType = 0x9
)

const (
	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

const (
	settingHeaderTableSize      = 0x1
	settingEnablePush           = 0x2
	settingMaxConcurrentStreams = 0x3
	settingInitialWindowSize    = 0x4
	settingMaxFrameSize         = 0x5
	settingMaxHeaderListSize    = 0x6
)

type errCode uint32

const (
	errNo                 errCode = 0x0
	errProtocol           errCode = 0x1
	errInternal           errCode = 0x2
	errFlowControl        errCode = 0x3
	errStreamClosed       errCode = 0x5
	errFrameSize          errCode = 0x6
	errRefusedStream      errCode = 0x7
	errCancel             errCode = 0x8
	errCompression        errCode = 0x9
	errEnhanceYourCalm    errCode = 0xb
	errInadequateSecurity errCode = 0xc
)

// connError ends the connection with a GOAWAY that carries code and reason.
type connError struct {
	code   errCode
	reason string
}

func (e connError) Error() string { return "http2 connection error: " + e.reason }

// frameHeader is a decoded frame header.
type frameHeader struct {
	length   int
	typ      frameType
	flags    uint8
	streamID uint32
	// selfDependent is set by unpad when a HEADERS frame's stream depends on itself.
	selfDependent bool
}

func parseFrameHeader(b []byte) frameHeader {
	_ = b[frameHeaderLen-1]
	return frameHeader{
		length:   int(b[0])<<16 | int(b[1])<<8 | int(b[2]),
		typ:      frameType(b[3]),
		flags:    b[4],
		streamID: binary.BigEndian.Uint32(b[5:]) & windowMax,
	}
}

func appendFrameHeader(b []byte, length int, typ frameType, flags uint8, streamID uint32) []byte {
	return append(b,
		byte(length>>16), byte(length>>8), byte(length), byte(typ), flags,
		byte(streamID>>24), byte(streamID>>16), byte(streamID>>8), byte(streamID))
}

func appendWindowUpdate(b []byte, streamID, n uint32) []byte {
	b = appendFrameHeader(b, 4, frameWindowUpdate, 0, streamID)
	return binary.BigEndian.AppendUint32(b, n)
}

func appendRSTStream(b []byte, streamID uint32, code errCode) []byte {
	b = appendFrameHeader(b, 4, frameRSTStream, 0, streamID)
	return binary.BigEndian.AppendUint32(b, uint32(code))
}

func appendGoAway(b []byte, lastID uint32, code errCode, reason string) []byte {
	b = appendFrameHeader(b, 8+len(reason), frameGoAway, 0, 0)
	b = binary.BigEndian.AppendUint32(b, lastID)
	b = binary.BigEndian.AppendUint32(b, uint32(code))
	return append(b, reason...)
}

func appendSetting(b []byte, id uint16, v uint32) []byte {
	b = binary.BigEndian.AppendUint16(b, id)
	return binary.BigEndian.AppendUint32(b, v)
}

// dependency reads the stream number in priority fields.
func dependency(p []byte) uint32 { return binary.BigEndian.Uint32(p) & windowMax }

// unpad strips the padding and, for HEADERS, the priority fields of a payload. ok is false when the
// padding is longer than the payload.
func unpad(h *frameHeader, p []byte) (body []byte, ok bool) {
	pad := 0
	if h.flags&flagPadded != 0 {
		if len(p) == 0 {
			return nil, false
		}
		pad = int(p[0])
		p = p[1:]
	}
	if h.typ == frameHeaders && h.flags&flagPriority != 0 {
		if len(p) < 5 {
			return nil, false
		}
		h.selfDependent = dependency(p) == h.streamID
		p = p[5:]
	}
	if pad > len(p) {
		return nil, false
	}
	return p[:len(p)-pad], true
}

// Rejection is sent to a client that began with the preface and is not served: empty SETTINGS and
// GOAWAY with a reason.
func Rejection(reason string) []byte {
	b := appendFrameHeader(nil, 0, frameSettings, 0, 0)
	return appendGoAway(b, 0, errInadequateSecurity, reason)
}
