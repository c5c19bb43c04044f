export const enAccess = {
  title: 'Access',
}
