package grpcclient

import "encoding/binary"

// Frames, flags, settings and error codes of RFC 9113 (sections 4, 6, 7).
const (
	frameHeaderLen = 9

	frameData         byte = 0x0
	frameHeaders      byte = 0x1
	frameRSTStream    byte = 0x3
	frameSettings     byte = 0x4
	framePushPromise  byte = 0x5
	framePing         byte = 0x6
	frameGoAway       byte = 0x7
	frameWindowUpdate byte = 0x8
	frameContinuation byte = 0x9

	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20

	settingHeaderTableSize      = 0x1
	settingEnablePush           = 0x2
	settingMaxConcurrentStreams = 0x3
	settingInitialWindowSize    = 0x4
	settingMaxFrameSize         = 0x5

	codeRefusedStream uint32 = 0x7
	codeCancel        uint32 = 0x8
)

// codeNames are grpc-go's names of error codes, for the texts of errors.
var codeNames = []string{
	"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED", "FRAME_SIZE_ERROR",
	"REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
}

func codeName(code uint32) string {
	if int64(code) < int64(len(codeNames)) {
		return codeNames[code]
	}
	return "unknown"
}

func appendFrame(b []byte, length int, kind, flags byte, streamID uint32) []byte {
	b = append(b, byte(length>>16), byte(length>>8), byte(length), kind, flags)
	return binary.BigEndian.AppendUint32(b, streamID)
}

func appendWindowUpdate(b []byte, streamID, n uint32) []byte {
	return binary.BigEndian.AppendUint32(appendFrame(b, 4, frameWindowUpdate, 0, streamID), n)
}

func appendRSTStream(b []byte, streamID, code uint32) []byte {
	return binary.BigEndian.AppendUint32(appendFrame(b, 4, frameRSTStream, 0, streamID), code)
}

// prefixLen is the length of a message's prefix: one flag byte and four bytes of length.
const prefixLen = 5

func putPrefix(b []byte) { binary.BigEndian.PutUint32(b[1:], uint32(len(b)-prefixLen)) }
