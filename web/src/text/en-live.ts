export const enLive = {
  title: 'Live',
}
